"""When what happens: the batches of every step, the learning rate, the evaluations. Pure functions of the spec."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tunesmith.data.split import order
from tunesmith.spec import TrainSpec

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Planned(Generic[Item]):
    """One step to come."""

    step: int
    """1-based."""
    epoch: int
    """1-based."""
    items: list[Item]
    ends_epoch: bool


def schedule(items: Sequence[Item], size: int, epochs: int, seed: int) -> list[Planned[Item]]:
    """Shuffle each epoch and cut it into steps of ``size`` items; resuming takes the rest of the same list."""
    parts = [
        (epoch, [items[i] for i in shuffled[start : start + size]], start + size >= len(items))
        for epoch in range(1, epochs + 1)
        for shuffled in [order(len(items), seed, epoch)]
        for start in range(0, len(items), size)
    ]
    return [Planned(step, *part) for step, part in enumerate(parts, start=1)]


def learning_rate(spec: TrainSpec, update: int, step: int, num_steps: int) -> float:
    """The rate of a 0-based optimizer update in a 1-based step: warm-up by updates, then the schedule by steps."""
    if update < spec.learning_rate_warmup_steps:
        return spec.learning_rate * (update + 1) / spec.learning_rate_warmup_steps
    progress = (step - 1) / max(1, num_steps - 1)
    fall = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return spec.learning_rate * (spec.min_lr_ratio + (1 - spec.min_lr_ratio) * fall[spec.learning_rate_schedule])


def due(spec: TrainSpec, step: int, num_steps: int) -> bool:
    """Held-out rows are scored before the first step, after the last, and every eval_every steps between."""
    return step in (0, num_steps) or (spec.eval_every > 0 and step % spec.eval_every == 0)
