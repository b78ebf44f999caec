"""One choice of a completions answer: text, ids, and an entry per token with its log-probabilities and routing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith.core.types import Completion, Floats, Ints
from tunesmith.models.chat import ChatRenderer
from tunesmith.server.dialects.fireworks.completion_request import CompletionRequest
from tunesmith.server.dialects.fireworks.tensors import matrix


@dataclass(frozen=True, slots=True)
class Drawn:
    """A completion, and what the model says of it and of its prompt at temperature 1."""

    completion: Completion
    prompt: Ints
    """[P] ids."""
    logprobs: Floats
    """[C] nats; NaN where the context had no room to score."""
    echoed: Floats
    """[P] nats, NaN at the first; empty unless the prompt is echoed with log-probabilities."""


def choice(index: int, drawn: Drawn, given: CompletionRequest, renderer: ChatRenderer) -> dict[str, Any]:
    """With echo, prompt and completion are one text, and every array covers both."""
    c = drawn.completion
    shown = np.concatenate([drawn.prompt, c.tokens]) if given.echo else c.tokens
    text = renderer.decode(shown)
    body: dict[str, Any] = {
        "index": index,
        "text": text,
        "finish_reason": "stop" if c.stop == "stop" else "length",
        "prompt_token_ids": drawn.prompt.tolist(),
    }
    if given.logprobs:
        body["logprobs"] = {"content": _content(drawn, given, renderer)}
    if given.raw_output:
        body["raw_output"] = {
            "completion": text,
            "prompt_fragments": [],
            "prompt_token_ids": drawn.prompt.tolist(),
            "completion_token_ids": shown.tolist(),
        }
    if given.return_token_ids:
        body["token_ids"] = shown.tolist()
    return body


def _content(drawn: Drawn, given: CompletionRequest, renderer: ChatRenderer) -> list[dict[str, Any]]:
    """Entry t belongs to token t; its routing is that of the input token before, whose output predicted it."""
    c, length = drawn.completion, len(drawn.prompt)
    entries = []
    if given.echo:
        # Nothing predicts the first token; clients want a number there, and drop it.
        scores = [0.0 if np.isnan(x) else float(x) for x in drawn.echoed]
        entries = [_entry(int(t), x, None, renderer) for t, x in zip(drawn.prompt, scores, strict=True)]
    for i, token in enumerate(c.tokens):
        entry = _entry(int(token), _number(drawn.logprobs[i]), float(c.sampling_logprobs[i]), renderer)
        if c.top_ids is not None and c.top_logprobs is not None:
            entry["top_logprobs"] = [
                {"token": renderer.piece(int(t)), "token_id": int(t), "logprob": float(x)}
                for t, x in zip(c.top_ids[i], c.top_logprobs[i], strict=True)
            ]
        entries.append(entry)
    if c.routing is not None:
        first = 0 if given.echo else length
        for t, entry in enumerate(entries, start=first):
            if t > 0:
                entry["routing_matrix"] = matrix(c.routing[t - 1])
    return entries


def _entry(token: int, logprob: float | None, sampling: float | None, renderer: ChatRenderer) -> dict[str, Any]:
    piece = renderer.piece(token)
    return {
        "token": piece,
        "bytes": list(piece.encode("utf-8", errors="replace")),
        "token_id": token,
        "logprob": logprob,
        "sampling_logprob": sampling,
        "top_logprobs": [],
    }


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
