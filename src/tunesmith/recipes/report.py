"""What a recipe says after each step; whoever runs it stores, shows and decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.core.types import Bools, Floats, Group, Metrics

Judgement = tuple[float | None, str]
"""(advantage, why the rollout was not trained on); ("" = it was)."""


@dataclass(frozen=True, slots=True)
class TokenUpdate:
    """What the update that trained on an attempt saw of its tokens, over all segments end to end."""

    ratios: Floats
    """[L] the loss's ratio of the trained policy to the one that sampled; 0 where not sampled."""
    clipped: Bools
    """[L] where the clip stopped the gradient."""


@dataclass(frozen=True, slots=True)
class RolloutLog:
    """The attempts of one step, to be kept."""

    name: str
    """"step" for training, "eval" for held-out rows."""
    groups: Sequence[Group]
    judged: Sequence[Sequence[Judgement]]
    updates: Sequence[Sequence[TokenUpdate | None]]
    """Per group, per rollout; None for those that were not trained on."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step; step 0 is the evaluation before training."""

    step: int
    metrics: Metrics
    """The same numbers for the same spec and seed."""
    timing: Metrics = field(default_factory=dict)
    """What a clock measured, in seconds and tokens per second."""
    logs: tuple[RolloutLog, ...] = ()
    state: Mapping[str, float] = field(default_factory=dict)
    """What the recipe needs to go on after this step, beside the trainer's own state."""
    best: bool = False
    """The held-out result is the best so far, and its weights are to be the result."""
    early_stop: str = ""
    """Why the job should end here; empty to go on."""


def add(totals: Metrics, more: Metrics) -> Metrics:
    return {name: totals.get(name, 0.0) + more.get(name, 0.0) for name in totals | more}


def mean_over(totals: Metrics, count: int) -> Metrics:
    """Means over the updates of a step; what the trainer counts (``train/``) stays a sum."""
    return {name: value if name.startswith("train/") else value / count for name, value in totals.items()}
