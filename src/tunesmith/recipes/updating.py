"""The loop that sft and dpo share: a batch, an update, now and then the held-out rows."""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import perf_counter
from typing import TypeVar

from tunesmith.core.ports import Trainer
from tunesmith.core.types import Metrics
from tunesmith.recipes.report import StepReport
from tunesmith.recipes.schedule import due, learning_rate, schedule
from tunesmith.spec import DpoSpec, SftSpec

Item = TypeVar("Item")
LOWEST = "lowest_heldout_loss"


async def run_updates(
    spec: SftSpec | DpoSpec,
    items: Sequence[Item],
    trainer: Trainer,
    gradient: Callable[[Sequence[Item]], Metrics],
    heldout: Callable[[], Metrics],
    after: int,
    state: Mapping[str, float],
) -> AsyncIterator[StepReport]:
    """Yield a report of each optimizer update.

    Args:
        gradient: adds the gradient of a batch; returns its metrics.
        heldout: metrics of the held-out rows, ``eval/loss`` among them; empty without any.
        after, state: where a checkpoint left the job; -1 and empty begin with the evaluation before training.
    """
    num_steps = spec.num_steps(len(items))
    lowest = state.get(LOWEST, math.inf)
    if after < 0:
        began, metrics = perf_counter(), heldout()
        lowest = metrics.get("eval/loss", lowest)
        yield StepReport(0, metrics, {"time/eval_s": perf_counter() - began}, state=_kept(lowest))
    for plan in schedule(items, spec.batch_size_samples, spec.epochs, spec.seed)[max(after, 0) :]:
        began = perf_counter()
        metrics = gradient(plan.items) | {"epoch": float(plan.epoch), "optim/updates": 1.0}
        metrics |= trainer.optim_step(spec.adam(learning_rate(spec, trainer.version, plan.step, num_steps)))
        took, began = perf_counter() - began, perf_counter()
        timing = {"time/train_s": took, "speed/train_tokens_per_s": metrics["train/packed_tokens"] / took}
        best = False
        if due(spec, plan.step, num_steps):
            metrics |= heldout() | {"optim/weight_change": trainer.weight_change()}
            timing["time/eval_s"] = perf_counter() - began
            loss = metrics.get("eval/loss", math.inf)
            best, lowest = loss < lowest, min(loss, lowest)
        yield StepReport(plan.step, metrics, timing, state=_kept(lowest), best=best)


def _kept(lowest: float) -> dict[str, float]:
    return {LOWEST: lowest} if math.isfinite(lowest) else {}
