"""Results as this wire's clients read them: JSON throughout, 408 while there is none."""

import json
from typing import Any

import numpy as np
from fastapi import Response

from tunesmith.core.types import Completion, Floats
from tunesmith.models.config import read_config
from tunesmith.server.dialects.fireworks import names, tensors
from tunesmith.server.dialects.fireworks.place import Place
from tunesmith.services.sessions.futures import Future
from tunesmith.services.sessions.results import Failed, Result, Said, Sampled, Stepped, Trained


def answer(place: Place, request_id: str, result: Result) -> Response:
    """The body of a finished future."""
    if isinstance(result, Failed):
        return _json({"error": result.error, "category": result.category})
    if isinstance(result, Stepped):
        return _json({"type": "optim_step", "metrics": result.metrics})
    if isinstance(result, Trained):
        outputs = [{"logprobs": tensors.tensor(x)} for x in result.logprobs]
        metrics = {"loss:sum": result.loss}
        return _json({"loss_fn_output_type": "ArrayRecord", "loss_fn_outputs": outputs, "metrics": metrics})
    return _json(_sampled(result) if isinstance(result, Sampled) else _said(place, request_id, result))


def pending(place: Place, future: Future) -> Response:
    """Ask again: what the request waits for, in words."""
    body = {"type": "try_again", "request_id": future.request_id, "queue_state": "active"}
    if not future.begun:
        waiting = place.sessions.models.waiting_before(future.request_id.rpartition(":")[0])
        reason = f"waiting for the engine, which has {waiting} operations to do"
        body |= {"queue_state": "paused_capacity", "queue_state_reason": reason}
    return _json(body, 408)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def _said(place: Place, request_id: str, result: Said) -> dict[str, Any]:
    fields = dict(result.fields)
    if "path" in fields:
        fields["path"] = names.public_path(place.owner, fields["path"])
    if request_id.endswith(":create"):
        fields |= _abilities(place, fields["model_id"])
    if request_id.endswith(":unload"):
        fields["type"] = "unload_model"
    return fields


def _abilities(place: Place, model_id: str) -> dict[str, Any]:
    """What the client asks of a new model before it uses an extension; what is left out is not supported."""
    row = place.sessions.models.find(place.owner, model_id)
    config = read_config(place.sessions.engines.model(row.base_model).folder)
    return {
        "type": "create_model",
        "comms": "v1",
        "routing_matrix_format": "base64_inline",
        "supports_router_replay": config.moe is not None,
    }


def _sampled(result: Sampled) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "sample", "sequences": [_sequence(c) for c in result.completions]}
    if result.prompt is not None:
        body["prompt_logprobs"] = _with_gaps(result.prompt.logprobs)
    return body


def _sequence(c: Completion) -> dict[str, Any]:
    stop = "stop" if c.stop == "stop" else "length"
    return {"stop_reason": stop, "tokens": c.tokens.tolist(), "logprobs": c.sampling_logprobs.tolist()}


def _with_gaps(values: Floats) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]
