"""Supervised fine-tuning: batches of conversations, cross-entropy on what the assistant says."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tunesmith.core.ports import Trainer
from tunesmith.core.types import Datum, Metrics, Norm
from tunesmith.recipes.report import StepReport
from tunesmith.recipes.schedule import due, learning_rate, schedule
from tunesmith.spec import SftSpec


@dataclass(frozen=True, slots=True)
class SftJob:
    """Everything one job works with."""

    spec: SftSpec
    data: Sequence[Datum]
    heldout: Sequence[Datum]
    trainer: Trainer

    @property
    def num_steps(self) -> int:
        return self.spec.num_steps(len(self.data))


async def run(job: SftJob, after: int = -1, state: Mapping[str, float] | None = None) -> AsyncIterator[StepReport]:
    """Yield a report of each optimizer update; ``after`` and ``state`` go on from a checkpoint, -1 from the start."""
    lowest = (state or {}).get("lowest_heldout_loss", float("inf"))
    if after < 0:
        metrics = _heldout(job)
        lowest = metrics.get("eval/loss", lowest)
        yield StepReport(0, metrics, state=_state(lowest))
    size, epochs = job.spec.batch_size_samples, job.spec.epochs
    for plan in schedule(job.data, size, epochs, job.spec.seed)[max(after, 0) :]:
        began = perf_counter()
        metrics = _update(job, plan.step, plan.items) | {"epoch": float(plan.epoch)}
        took = perf_counter() - began
        best = False
        if due(job.spec, plan.step, job.num_steps):
            metrics |= _heldout(job) | {"optim/weight_change": job.trainer.weight_change()}
            best = metrics.get("eval/loss", lowest) < lowest
            lowest = min(lowest, metrics.get("eval/loss", lowest))
        timing = {"time/train_s": took, "speed/train_tokens_per_s": metrics["train/packed_tokens"] / took}
        yield StepReport(plan.step, metrics, timing, state=_state(lowest), best=best)


def _update(job: SftJob, step: int, batch: Sequence[Datum]) -> Metrics:
    """One update: the mean negative log-likelihood per trained token, in nats."""
    tokens = float(sum(np.count_nonzero(d.weights) for d in batch))
    norm = Norm(max(tokens, 1.0), float(len(batch)))
    metrics, _ = job.trainer.forward_backward(batch, "cross_entropy", norm=norm)
    rate = learning_rate(job.spec, job.trainer.version, step, job.num_steps)
    metrics |= job.trainer.optim_step(job.spec.adam(rate))
    return metrics | {"train/loss": metrics["loss/cross_entropy"], "train/tokens": tokens, "optim/updates": 1.0}


def _heldout(job: SftJob) -> Metrics:
    if not job.heldout:
        return {}
    scored = job.trainer.forward(job.heldout)
    total = sum(float(-(lp.astype(np.float64) * d.weights).sum()) for lp, d in zip(scored, job.heldout, strict=True))
    tokens = sum(np.count_nonzero(d.weights) for d in job.heldout)
    right = [bool((np.exp(lp) > 0.5)[d.weights != 0].all()) for lp, d in zip(scored, job.heldout, strict=True)]
    return {"eval/loss": total / tokens, "eval/rows": float(len(right)), "eval/sure_share": float(np.mean(right))}


def _state(lowest: float) -> dict[str, float]:
    return {"lowest_heldout_loss": lowest} if np.isfinite(lowest) else {}
