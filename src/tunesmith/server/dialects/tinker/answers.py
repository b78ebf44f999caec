"""Results as the Tinker client reads them: protobuf for numbers, JSON for the rest, 408 while there is none."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from tunesmith.core.types import Completion, Floats, PromptScores
from tunesmith.server.dialects.tinker import wire_pb2 as wire
from tunesmith.server.dialects.tinker.tensors import dense, sparse
from tunesmith.services.sessions.futures import Future
from tunesmith.services.sessions.results import Failed, Result, Said, Sampled, Stepped, Trained
from tunesmith.services.sessions.sessions import Sessions

PROTOBUF = "application/x-protobuf"
METADATA_ONLY_ABOVE = 1 << 20
"""Bytes: clients that ask for it first hear how large a larger answer is, and reserve room for it."""
EMPTY = -99999.0
"""Log-probability of a cell that holds no token."""
_STOPS = {"stop": wire.STOP_REASON_STOP, "length": wire.STOP_REASON_LENGTH, "abort": wire.STOP_REASON_LENGTH}


def answer(request_id: str, result: Result, metadata_only: bool = False) -> Response:
    """The body of a finished future."""
    if isinstance(result, Failed):
        return _json({"error": result.error, "category": result.category})
    if isinstance(result, Said):
        return _json(result.fields)
    if isinstance(result, Stepped):
        return _json({"type": "optim_step", "metrics": result.metrics})
    body = (_trained(result) if isinstance(result, Trained) else _sampled(result)).SerializeToString()
    if metadata_only and len(body) > METADATA_ONLY_ABOVE:
        return _json({"status": "complete_metadata", "response_payload_size": len(body), "request_id": request_id})
    return Response(body, media_type=PROTOBUF)


def pending(future: Future, sessions: Sessions) -> Response:
    """Ask again: what the request waits for, in words."""
    body = {"type": "try_again", "request_id": future.request_id, "queue_state": "active"}
    if not future.begun:
        model_id = future.request_id.rpartition(":")[0]
        waiting = sessions.models.waiting_before(model_id)
        reason = f"waiting for the engine, which has {waiting} operations to do"
        body |= {"queue_state": "paused_capacity", "queue_state_reason": reason}
    return _json(body, 408)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def _trained(result: Trained) -> wire.ForwardBackwardOutput:
    """Datums of another number of targets per position need a record of their own."""
    out = wire.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", metrics=_metrics(result))
    start = 0
    for end in range(1, len(result.logprobs) + 1):
        if end == len(result.logprobs) or result.logprobs[end].shape[1:] != result.logprobs[start].shape[1:]:
            out.loss_fn_outputs.append(_record(result.logprobs[start:end]))
            start = end
    return out


def _metrics(result: Trained) -> dict[str, float]:
    """Clients merge the metrics of a batch's pieces by what stands behind the colon."""
    return {"loss:sum": result.loss, **{f"{name}:sum": value for name, value in result.metrics.items()}}


def _record(logprobs: Sequence[Floats]) -> wire.ArrayRecord:
    ends = np.cumsum([0, *(x.size * 4 for x in logprobs)], dtype="<i8")
    tensor = wire.BatchedTensor(
        data=b"".join(np.ascontiguousarray(x, "<f4").tobytes() for x in logprobs),
        offsets=ends.tobytes(),
        dtype=wire.DTYPE_FLOAT32,
        trailing_shape=logprobs[0].shape[1:],
    )
    return wire.ArrayRecord(type_tag="ArrayRecord", fields={"logprobs": tensor}, num_datums=len(logprobs))


def _sampled(result: Sampled) -> wire.SampleResponse:
    out = wire.SampleResponse(sequences=[_sequence(c) for c in result.completions])
    if result.prompt is not None:
        _add_prompt(out, result.prompt, result.sparse_targets)
    return out


def _sequence(c: Completion) -> wire.SampledSequence:
    sequence = wire.SampledSequence(
        stop_reason=_STOPS[c.stop],
        tokens=_bytes(c.tokens, "<i4"),
        logprobs=_bytes(c.logprobs, "<f4"),
        sampling_logprobs=_bytes(c.sampling_logprobs, "<f4"),
    )
    if c.top_ids is not None and c.top_logprobs is not None:
        sequence.topk_sampled_logprobs.CopyFrom(_top(c.top_ids, c.top_logprobs))
    return sequence


def _add_prompt(out: wire.SampleResponse, scores: PromptScores, layout: list[NDArray[np.int64]] | None) -> None:
    out.prompt_logprobs = _bytes(scores.logprobs, "<f4")
    if scores.top_ids is not None and scores.top_logprobs is not None:
        out.topk_prompt_logprobs.CopyFrom(_top(scores.top_ids, scores.top_logprobs))
    if scores.target_logprobs is not None:
        found = scores.target_logprobs
        out.target_prompt_logprobs.CopyFrom(dense(found) if layout is None else sparse(found, *layout))
    if scores.alternative_ids is not None and scores.alternative_logprobs is not None:
        tokens, logprobs = dense(scores.alternative_ids), dense(scores.alternative_logprobs)
        out.prompt_alt_tokens.CopyFrom(wire.PromptAltTokens(tokens=tokens, logprobs=logprobs))


def _top(ids: NDArray[Any], logprobs: Floats) -> wire.TopkLogprobs:
    length, k = ids.shape
    filled = np.nan_to_num(logprobs, nan=EMPTY)
    return wire.TopkLogprobs(token_ids=_bytes(ids, "<i4"), logprobs=_bytes(filled, "<f4"), k=k, length=length)


def _bytes(values: NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(values, dtype).tobytes()
