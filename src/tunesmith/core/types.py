"""The nouns of the system; every other module speaks in these.

Shapes: L = tokens of a whole sequence, T = L - 1 = predicted tokens, C = sampled tokens of one completion.
The one shift from L to T happens in ``core.shift``; after it every per-token column of a Datum is aligned with
``targets``. Per-token columns are numpy arrays: int32 for ids, float32 for numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Routes = NDArray[np.int16]
"""Expert ids; the last two axes are sparse layers and the router's top k."""
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
    stop_ids: tuple[int, ...] | None = None
    """Ids that end a completion instead of the model's own; () leaves only ``stop`` and max_tokens."""
    top_logprobs: int = 0
    """Also report so many of the likeliest tokens at every sampled position."""
    grammar: str = ""
    """What a completion has to look like, as ``models.grammar`` writes it; empty for any text. It ends at the model's
    own stop tokens."""
    routing: bool = False
    """Also report which experts every input token went to; only for models that have experts."""
    entropies: bool = False
    """Also report how undecided the policy was at every sampled position."""
    begun: int = 0
    """So many tokens at the end of the prompt came after the place where sampling first began: earlier replies and
    what was said to them. Their bits are then those of a Segment that is trained as one; the rest is the same."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation of one prompt."""

    tokens: Ints
    """[C] sampled ids, the stop token included when one was sampled."""
    logprobs: Floats
    """[C] nats, of the softmax at the rollout's temperature over the whole vocabulary."""
    sampling_logprobs: Floats
    """[C] nats, of the distribution the token was drawn from: after the grammar, top-k and top-p."""
    stop: StopReason
    version: int
    """Version of the weights that drew the last token."""
    top_ids: Ints | None = None
    """[C, k] the likeliest ids at each position, likeliest first; None unless ``SamplingParams.top_logprobs``."""
    top_logprobs: Floats | None = None
    """[C, k] their nats, of the same softmax as ``logprobs``."""
    routing: Routes | None = None
    """[P + C - 1, sparse layers, k] experts of every input token; None unless ``SamplingParams.routing``."""
    entropies: Floats | None = None
    """[C] nats, of the same softmax as ``logprobs``, in thousandths; None unless ``SamplingParams.entropies``."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """One sampled token, told while its completion still grows."""

    candidate: int
    token: int
    logprob: float
    """Nats, as ``Completion.logprobs``."""
    sampling_logprob: float
    """Nats, as ``Completion.sampling_logprobs``."""
    top_ids: Ints | None
    """[k] the likeliest ids, likeliest first; None unless ``SamplingParams.top_logprobs``."""
    top_logprobs: Floats | None
    """[k] their nats."""
    stop: StopReason | None
    """Why the completion ended with this token; None while it goes on."""


OnToken = Callable[[NewToken], None]
"""Called with every token of a request as it is drawn; it must be quick, for the whole batch waits."""


@dataclass(frozen=True, slots=True)
class PromptScoring:
    """What to report of a prompt that is given as it is. All log-probabilities are those of temperature 1.

    K targets of a row and the alternatives belong to the token after the row's: row i to position i + 1.
    """

    top_k: int = 0
    """So many of the likeliest ids at every position."""
    targets: Ints | None = None
    """[L - 1, K] ids to score; -1 leaves a cell out."""
    alternatives: int = 0
    """So many draws, with replacement, at every position after the first."""
    temperature: float = 1.0
    """What alternatives are drawn at; 0 takes the likeliest token each time."""
    last_n: int | None = None
    """Score only the last n positions; targets and alternatives are not shortened by it."""
    seed: int = 0
    """Of the alternatives: draw j at position i depends on (seed, i, j) and the distribution alone."""


@dataclass(frozen=True, slots=True)
class PromptScores:
    """What was asked for in a ``PromptScoring``; L prompt tokens."""

    logprobs: Floats
    """[L] nats of the prompt's own tokens; NaN at the first, which nothing predicts, and before the last_n."""
    top_ids: Ints | None = None
    """[L, k] likeliest first; 0 where ``logprobs`` is NaN."""
    top_logprobs: Floats | None = None
    """[L, k] nats; NaN where ``logprobs`` is."""
    target_logprobs: Floats | None = None
    """[L - 1, K] nats, 0 where the target is -1."""
    alternative_ids: Ints | None = None
    """[L - 1, k] drawn ids."""
    alternative_logprobs: Floats | None = None
    """[L - 1, k] nats of the drawn ids."""


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
    entropies: Floats | None = None
    """[L] nats where sampled, 0 elsewhere: how undecided the policy was; None where its sampler did not say."""


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
class Prompt:
    """A dataset row, rendered."""

    prompt_id: str
    row: Row
    tokens: Ints
    """[L] ids."""
    attempts: tuple[Rollout, ...] = ()
    """Made and judged before the job, their log-probabilities still to come; none where the job makes its own."""


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
    """[T] token to predict at each position; [T, K] scores K of them, for cross_entropy alone."""
    weights: Floats
    """Shape of targets: loss weight; 0 leaves the token out (prompt, tool output)."""
    logprobs: Floats | None = None
    """[T] sampling policy, nats."""
    ref_logprobs: Floats | None = None
    """[T] frozen reference, nats."""
    advantages: Floats | None = None
    """[T] reward units."""
    clip_low: Floats | None = None
    """[T] lowest ratio p / q of ppo, cispo and gspo, in place of the loss's ``clip_low_threshold``."""
    clip_high: Floats | None = None
    """[T] highest ratio of the same, in place of ``clip_high_threshold``."""
    ratio_mask: Floats | None = None
    """[T] not 0 where a token counts for the ratio of its sequence in gspo; None: where its weight is not 0."""
    temperature: float = 1.0
    routing: Routes | None = None
    """[T, sparse layers, k] experts to send each input token to, as its sampler did; -1 leaves it to the router."""


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
class Change:
    """One proposed change of one setting, and what should come of it."""

    setting: str
    old: Any
    new: Any
    """The value to try; in words where ``by_hand``."""
    expect: str
    """What should happen then."""
    by_hand: bool = False
    """Only a person can make it: a grader to mend, rows to add."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about a run, with the numbers it rests on and one proposed change."""

    rule: str
    level: Level
    step: int
    saw: str
    advice: str
    """The change in words."""
    change: Change | None = None
    """The same as data."""
