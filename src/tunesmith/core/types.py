"""The nouns of the system; every other module speaks in these.

Shapes: L = tokens of a whole sequence, T = L - 1 = predicted tokens, C = sampled tokens of one completion.
The one shift from L to T happens in ``core.shift``; after it every per-token column of a Datum is aligned with
``targets``. Per-token columns are numpy arrays: int32 for ids, float32 for numbers.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
StopReason = Literal["stop", "length", "abort"]
Level = Literal["info", "warning", "error"]
Metrics = dict[str, float]
"""Flat name -> number, with ``room/name`` keys."""
Row = dict[str, Any]
"""One dataset row as the user wrote it."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw tokens. Defaults are the managed RFT defaults."""

    max_tokens: int = 2048
    temperature: float = 0.7
    """0 takes the likeliest token; its log-probabilities are those of temperature 1."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose mass reaches top_p, after top_k."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion; the text itself stays in it."""
    seed: int = 0
    """Candidate i of a call draws from the stream (seed, i), so the text does not depend on the batch."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation of one prompt."""

    tokens: Ints
    """[C] sampled ids, the stop token included when one was sampled."""
    logprobs: Floats
    """[C] nats, of the softmax at the rollout's temperature over the whole vocabulary."""
    sampling_logprobs: Floats
    """[C] nats, of the distribution the token was drawn from: after top-k and top-p."""
    stop: StopReason
    version: int
    """Version of the weights that drew the last token."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens the policy saw and wrote: prompt, replies and tool output in order.

    A multi-turn rollout stays one Segment for as long as each prompt extends what came before; a rewritten
    history starts the next.
    """

    tokens: Ints
    """[L] ids."""
    sampled: Bools
    """[L] True where the policy wrote the token; only these are trained."""
    logprobs: Floats
    """[L] nats where sampled, 0 elsewhere."""
    temperature: float = 1.0
    """The trainer divides its logits by it, so that p and q are the same kind of probability."""


@dataclass(frozen=True, slots=True)
class Score:
    """A grader's verdict on one rollout."""

    reward: float
    parts: Metrics = field(default_factory=dict)
    """Named sub-scores, raw; the trainer reads only ``reward``."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt at one prompt. Exactly one of ``score`` and ``error`` is set once it is graded."""

    segments: tuple[Segment, ...]
    text: str
    version: int
    stop: StopReason
    score: Score | None = None
    error: str | None = None
    """Why grading failed, as ``label: detail``; a failed attempt stays, as data, and is never a reward."""


@dataclass(frozen=True, slots=True)
class Group:
    """All attempts at one prompt; advantages are relative to the group."""

    prompt_id: str
    row: Row
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence.

    Example: prompt [5, 6], reply [8, 9], advantage 0.5 ->
        Datum(tokens=[5, 6, 8], targets=[6, 8, 9], weights=[0, 1, 1],
              logprobs=[0, -0.2, -1.1], advantages=[0, 0.5, 0.5])
    """

    tokens: Ints
    """[T] model input."""
    targets: Ints
    """[T] token to predict at each position."""
    weights: Floats
    """[T] loss weight; 0 leaves the token out (prompt, tool output)."""
    logprobs: Floats | None = None
    """[T] sampling policy, nats."""
    ref_logprobs: Floats | None = None
    """[T] frozen reference, nats."""
    advantages: Floats | None = None
    """[T] reward units."""
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Norm:
    """Denominators of the whole optimizer step, over all passes and ranks.

    Passed in and never recomputed, so that any split of a step gives the same gradient. ``Norm(1, 1)`` makes
    every loss a plain sum, which is what the Training API promises.
    """

    tokens: float
    sequences: float


PLAIN_SUM = Norm(1.0, 1.0)


@dataclass(frozen=True, slots=True)
class AdamParams:
    """One optimizer update: AdamW with decoupled weight decay (1711.05101) on the clipped, accumulated gradient."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    """Largest L2 norm of the whole gradient; 0 switches clipping off."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about a run, with the numbers it rests on and one proposed change."""

    rule: str
    level: Level
    step: int
    saw: str
    advice: str
