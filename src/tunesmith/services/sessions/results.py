"""What requests come to: plain dataclasses of numbers and arrays, and their form on disk (JSON beside raw arrays)."""

import json
from dataclasses import dataclass, field, fields, is_dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.types import Completion, Floats, PromptScores


@dataclass(frozen=True, slots=True)
class Trained:
    """A forward_backward or forward: the sum of the loss, and log-probabilities in the shape of each target."""

    loss: float
    logprobs: list[Floats]
    metrics: dict[str, float] = field(default_factory=dict)
    """More sums over the batch, by name."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """An optim_step: free metrics."""

    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Completions in the order of their numbers, and the scores of the prompt where they were asked for."""

    completions: list[Completion]
    prompt: PromptScores | None = None
    sparse_targets: list[NDArray[np.int64]] | None = None
    """[crow_indices, col_indices] of the prompt's targets, where they were asked for as a sparse matrix."""


@dataclass(frozen=True, slots=True)
class Said:
    """A short answer in words and numbers, such as the path of a checkpoint."""

    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that could not be carried out: whose fault, in words."""

    error: str
    category: str
    """user, server or unknown."""


Result = Trained | Stepped | Sampled | Said | Failed
_KINDS = {c.__name__: c for c in (Trained, Stepped, Sampled, Said, Failed, Completion, PromptScores)}


def to_bytes(result: Result) -> bytes:
    """A result as one ``npz`` archive without pickle: arrays, and a JSON text that refers to them by number."""
    arrays: list[np.ndarray[Any, Any]] = []

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {"array": len(arrays) - 1}
        if is_dataclass(value) and not isinstance(value, type):
            members = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
            return {"kind": type(value).__name__, "fields": members}
        if isinstance(value, dict):
            return {"dict": {k: plain(v) for k, v in value.items()}}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    text = json.dumps(plain(result)).encode()
    out = BytesIO()
    named = {f"a{i}": a for i, a in enumerate(arrays)}
    np.savez(out, allow_pickle=False, text=np.frombuffer(text, np.uint8), **named)
    return out.getvalue()


def from_bytes(body: bytes) -> Result:
    """The inverse of ``to_bytes``."""
    with np.load(BytesIO(body), allow_pickle=False) as archive:

        def rich(value: Any) -> Any:
            if isinstance(value, list):
                return [rich(v) for v in value]
            if not isinstance(value, dict):
                return value
            if "array" in value:
                return archive[f"a{value['array']}"]
            if "dict" in value:
                return {k: rich(v) for k, v in value["dict"].items()}
            return _KINDS[value["kind"]](**{k: rich(v) for k, v in value["fields"].items()})

        result: Result = rich(json.loads(archive["text"].tobytes()))
        return result
