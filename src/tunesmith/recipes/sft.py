"""Supervised fine-tuning: batches of conversations, cross-entropy on what the assistant says."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core.ports import Trainer
from tunesmith.core.types import Datum, Metrics, Norm
from tunesmith.recipes.report import StepReport
from tunesmith.recipes.updating import run_updates
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


def run(job: SftJob, after: int = -1, state: Mapping[str, float] | None = None) -> AsyncIterator[StepReport]:
    """A report of each optimizer update; ``after`` and ``state`` go on from a checkpoint, -1 from the start."""

    def gradient(batch: Sequence[Datum]) -> Metrics:
        return _gradient(job.trainer, batch)

    return run_updates(job.spec, job.data, job.trainer, gradient, lambda: _heldout(job), after, state or {})


def _gradient(trainer: Trainer, batch: Sequence[Datum]) -> Metrics:
    """Of the mean negative log-likelihood per trained token, in nats."""
    tokens = float(sum(np.count_nonzero(d.weights) for d in batch))
    metrics, _ = trainer.forward_backward(batch, "cross_entropy", norm=Norm(max(tokens, 1.0), float(len(batch))))
    return metrics | {"train/loss": metrics["loss/cross_entropy"], "train/tokens": tokens}


def _heldout(job: SftJob) -> Metrics:
    if not job.heldout:
        return {}
    scored = job.trainer.forward(job.heldout)
    total = sum(float(-(lp.astype(np.float64) * d.weights).sum()) for lp, d in zip(scored, job.heldout, strict=True))
    tokens = sum(np.count_nonzero(d.weights) for d in job.heldout)
    right = [bool((np.exp(lp) > 0.5)[d.weights != 0].all()) for lp, d in zip(scored, job.heldout, strict=True)]
    return {"eval/loss": total / tokens, "eval/rows": float(len(right)), "eval/sure_share": float(np.mean(right))}
