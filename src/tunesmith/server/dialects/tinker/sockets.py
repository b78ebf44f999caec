"""The other end of this wire: the ``Trainer`` and ``Sampler`` of the core over HTTP, so that recipes train on a server.

Numbers cross as float32 and float64, bit by bit: a recipe over these sockets computes what it computes in process.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.core.ports import CustomLoss, Weights
from tunesmith.core.types import (
    PLAIN_SUM,
    AdamParams,
    Completion,
    Datum,
    Floats,
    Ints,
    Metrics,
    Norm,
    SamplingParams,
    StopReason,
)
from tunesmith.server.dialects.tinker import tensors
from tunesmith.server.dialects.tinker import wire_pb2 as wire

POLL_TIMEOUT_S = 45.0
_COLUMNS = ("targets", "weights", "logprobs", "ref_logprobs", "advantages")
_NAMES = {"targets": "target_tokens"}


class Connection:
    """One session with a server."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base, self._key = f"{base_url.rstrip('/')}/api/v1/", key
        self.session_id: str = self.call("create_session", {"sdk_version": "tunesmith"})["session_id"]

    def call(self, path: str, body: Mapping[str, Any] | bytes) -> Any:
        """One request; its JSON answer.

        Raises:
            UserError: the server refused it, in the server's words.
        """
        return json.loads(self._send(path, body))

    def result(self, request_id: str) -> bytes:
        """What a queued request came to; asks until it is done."""
        while (answer := self._poll(request_id)) is None:
            continue
        if answer.startswith(b'{"error"'):
            raise JobStopped("server", json.loads(answer)["error"], "See the server's log, and resume")
        return answer

    def _poll(self, request_id: str) -> bytes | None:
        try:
            return self._send("retrieve_future", {"request_id": request_id})
        except HTTPError as e:
            if e.code == 408:
                return None
            raise

    def _send(self, path: str, body: Mapping[str, Any] | bytes) -> bytes:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/x-protobuf" if isinstance(body, bytes) else "application/json"
        headers = {"x-api-key": self._key, "content-type": kind}
        try:
            with urlopen(Request(self._base + path, raw, headers), timeout=POLL_TIMEOUT_S) as answer:
                return bytes(answer.read())
        except HTTPError as e:
            if e.code == 408:
                raise
            detail = json.loads(e.read() or b"{}").get("detail", e.reason)
            raise UserError(path, f"the server answered {e.code}: {detail}", "Mend the request") from None


class HttpTrainer:
    """A policy on a server, with the verbs of a trainer in this process."""

    def __init__(self, connection: Connection, base_model: str, lora_rank: int, seed: int, lora_head: bool) -> None:
        self._connection, self._numbers = connection, count(1)
        self._version, self._snapshots = 0, count()
        lora = {"rank": lora_rank, "seed": seed, "train_unembed": lora_head}
        body = {"session_id": connection.session_id, "model_seq_id": 0, "base_model": base_model, "lora_config": lora}
        made = connection.call("create_model", body)
        self.model_id: str = made["model_id"]
        connection.result(made["request_id"])

    @property
    def version(self) -> int:
        return self._version

    def forward(self, data: Sequence[Datum], reference: bool = False, all_tokens: bool = False) -> list[Floats]:
        if all_tokens:
            return self._pass(data, "cross_entropy", {}, forward_only=True)[1]
        return self._pass(data, "policy", {"reference": float(reference)}, forward_only=True)[1]

    def forward_backward(
        self, data: Sequence[Datum], loss: str, settings: Mapping[str, Any] | None = None, norm: Norm = PLAIN_SUM
    ) -> tuple[Metrics, list[Floats]]:
        given: dict[str, Any] = dict(settings or {})
        if loss == "policy":
            given = given["cfg"].model_dump() | {"norm_tokens": norm.tokens, "norm_sequences": norm.sequences}
        elif norm != PLAIN_SUM:
            raise UserError("norm", f"{loss} is a plain sum over this wire", "Scale the weights instead")
        return self._pass(data, loss, given, forward_only=False)

    def forward_backward_custom(self, data: Sequence[Datum], loss: CustomLoss) -> tuple[Metrics, list[Floats]]:
        raise UserError("custom loss", "these sockets are for recipes, which have none", "Use the Tinker client")

    def optim_step(self, params: AdamParams) -> Metrics:
        adam = {
            "learning_rate": params.learning_rate,
            "beta1": params.beta1,
            "beta2": params.beta2,
            "eps": params.eps,
            "weight_decay": params.weight_decay,
            "grad_clip_norm": params.grad_clip,
        }
        metrics: Metrics = json.loads(self._operation("optim_step", {"adam_params": adam}))["metrics"]
        self._version += 1
        return metrics

    def weight_change(self) -> float:
        return float(json.loads(self._operation("weight_change", {}))["weight_change"])

    def save_state(self, folder: Path) -> None:
        """On the server, under the folder's name: training goes on from there with the Tinker client."""
        self._operation("save_weights", {"path": folder.name, "overwrite": True})

    def load_state(self, folder: Path) -> None:
        path = f"tinker://{self.model_id}/weights/{folder.name}"
        self._operation("load_weights", {"path": path, "optimizer": True})

    def save_weights_for_sampler(self, name: str) -> Weights:
        number = next(self._snapshots)
        answer = self._operation("save_weights_for_sampler", {"sampling_session_seq_id": number})
        return Weights(name, self._version, json.loads(answer)["sampling_session_id"])

    def export(self, folder: Path) -> None:
        """On the server, as external weights of the folder's name."""
        self._operation("save_weights_external", {"path": folder.name})

    def _operation(self, path: str, body: dict[str, Any]) -> bytes:
        numbered = body | {"model_id": self.model_id, "seq_id": next(self._numbers)}
        return self._connection.result(self._connection.call(path, numbered)["request_id"])

    def _pass(
        self, data: Sequence[Datum], loss: str, settings: Mapping[str, Any], forward_only: bool
    ) -> tuple[Metrics, list[Floats]]:
        message = wire.ForwardBackwardRequest(
            model_id=self.model_id, seq_id=next(self._numbers), loss_fn=loss, forward_only=forward_only
        )
        message.data.extend(_datum(d, loss) for d in data)
        for name, value in settings.items():
            key = "text" if isinstance(value, str) else "number"
            message.loss_fn_config_v2[name].CopyFrom(wire.LossConfigValue(**{key: value}))
        queued = self._connection.call("forward_backward", message.SerializeToString())
        out = wire.ForwardBackwardOutput.FromString(self._connection.result(queued["request_id"]))
        metrics = {name.removesuffix(":sum"): value for name, value in out.metrics.items()}
        return {n: v for n, v in metrics.items() if n != "loss"}, _logprobs(out)


class HttpSampler:
    """Weights on a server, sampled over HTTP."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._numbers = connection, count()
        self._weights = Weights("none", 0, None)

    @property
    def version(self) -> int:
        return self._weights.version

    async def load(self, weights: Weights) -> None:
        self._weights = weights

    async def sample(self, prompt: Ints, params: SamplingParams, n: int) -> list[Completion]:
        weights = self._weights
        ids = None if params.stop_ids is None else list(params.stop_ids)
        given: dict[str, Any] = {
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or -1,
            "seed": params.seed,
            "stop": list(params.stop) or ids,
        }
        response = await self._ask(weights, prompt, {"sampling_params": given, "num_samples": n})
        return [_completion(s, weights.version) for s in response.sequences]

    async def compute_logprobs(self, tokens: Ints) -> Floats:
        asked = {"sampling_params": {"max_tokens": 1}, "prompt_logprobs": True}
        response = await self._ask(self._weights, tokens, asked)
        logprobs = np.frombuffer(response.prompt_logprobs, "<f4").copy()
        logprobs[:1] = 0
        return logprobs

    async def _ask(self, weights: Weights, prompt: Ints, body: dict[str, Any]) -> wire.SampleResponse:
        chunks = [{"type": "encoded_text", "tokens": prompt.tolist()}]
        whole = body | {
            "sampling_session_id": weights.payload,
            "seq_id": next(self._numbers),
            "prompt": {"chunks": chunks},
        }
        queued = await asyncio.to_thread(self._connection.call, "asample", whole)
        return wire.SampleResponse.FromString(await asyncio.to_thread(self._connection.result, queued["request_id"]))


def _datum(d: Datum, loss: str) -> wire.Datum:
    chunk = wire.Chunk(encoded_text=wire.EncodedTextChunk(tokens=d.tokens.astype("<i4").tobytes()))
    columns = {c: getattr(d, c) for c in _COLUMNS if getattr(d, c) is not None}
    named = {_NAMES.get(name, name): tensors.dense(column) for name, column in columns.items()}
    if loss == "policy":
        named["temperature"] = tensors.dense(np.array([d.temperature], np.float32))
    return wire.Datum(model_input=[chunk], loss_fn_inputs=named)


def _logprobs(out: wire.ForwardBackwardOutput) -> list[Floats]:
    found: list[Floats] = []
    for record in out.loss_fn_outputs:
        tensor = record.fields["logprobs"]
        ends = np.frombuffer(tensor.offsets, "<i8") // 4
        flat = np.frombuffer(tensor.data, "<f4")
        found += [flat[a:b].reshape(-1, *tensor.trailing_shape) for a, b in pairwise(ends)]
    return found


def _completion(sequence: wire.SampledSequence, version: int) -> Completion:
    stop: StopReason = "stop" if sequence.stop_reason == wire.STOP_REASON_STOP else "length"
    return Completion(
        np.frombuffer(sequence.tokens, "<i4"),
        np.frombuffer(sequence.logprobs, "<f4"),
        np.frombuffer(sequence.sampling_logprobs, "<f4"),
        stop,
        version,
    )
