"""Preference tuning: pairs of a better and a worse answer, compared with a reference that is scored once."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.ports import Trainer
from tunesmith.core.types import Datum, Floats, Metrics, Norm
from tunesmith.recipes.assemble import with_reference
from tunesmith.recipes.report import StepReport
from tunesmith.recipes.updating import run_updates
from tunesmith.spec import DpoSpec

Pair = tuple[Datum, Datum]
"""(better, worse)."""


@dataclass(frozen=True, slots=True)
class DpoJob:
    """Everything one job works with."""

    spec: DpoSpec
    pairs: Sequence[Pair]
    heldout: Sequence[Pair]
    trainer: Trainer

    @property
    def num_steps(self) -> int:
        return self.spec.num_steps(len(self.pairs))


def run(job: DpoJob, after: int = -1, state: Mapping[str, float] | None = None) -> AsyncIterator[StepReport]:
    """A report of each optimizer update; ``after`` and ``state`` go on from a checkpoint, -1 from the start."""
    pairs, heldout = _referenced(job, job.pairs), _referenced(job, job.heldout)

    def gradient(batch: Sequence[Pair]) -> Metrics:
        return _gradient(job, batch)

    return run_updates(job.spec, pairs, job.trainer, gradient, lambda: _heldout(job, heldout), after, state or {})


def _referenced(job: DpoJob, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with the reference's log-probabilities, which never change; orpo compares with none."""
    if job.spec.preference_loss == "orpo" or not pairs:
        return list(pairs)
    flat = _flat(pairs)
    scored = with_reference(flat, job.trainer.forward(flat, reference=True))
    return list(zip(scored[::2], scored[1::2], strict=True))


def _gradient(job: DpoJob, batch: Sequence[Pair]) -> Metrics:
    """Of the mean preference loss of a batch of pairs."""
    loss = job.spec.preference_loss
    settings = {"beta": job.spec.dpo_beta} if loss == "dpo" else {"orpo_lambda": job.spec.orpo_lambda}
    data = _flat(batch)
    tokens = float(sum(np.count_nonzero(d.weights) for d in data))
    metrics, _ = job.trainer.forward_backward(data, loss, settings, Norm(tokens, float(len(batch))))
    renamed = {name.replace("preference/", "train/"): value for name, value in metrics.items()}
    return renamed | {"train/loss": metrics[f"loss/{loss}"], "train/tokens": tokens}


def _heldout(job: DpoJob, pairs: Sequence[Pair]) -> Metrics:
    """Loss, accuracy (better ranked above worse) and margin on pairs that are not trained."""
    if not pairs:
        return {}
    data = _flat(pairs)
    margins = _margins(job, data, job.trainer.forward(data))
    return {
        "eval/loss": float(np.logaddexp(0, -margins).mean()),
        "eval/accuracy": float((margins > 0).mean()),
        "eval/margin": float(margins.mean()),
    }


def _margins(job: DpoJob, data: Sequence[Datum], scored: Sequence[Floats]) -> NDArray[np.float64]:
    """[pairs] beta times the difference of log-ratios to the reference; for orpo of mean log-odds."""
    sums = []
    for d, logprobs in zip(data, scored, strict=True):
        own = d.weights != 0
        if d.ref_logprobs is not None:
            sums.append(job.spec.dpo_beta * float((logprobs - d.ref_logprobs)[own].sum(dtype=np.float64)))
        else:
            mean = min(float(logprobs[own].mean(dtype=np.float64)), -1e-7)
            sums.append(mean - float(np.log(-np.expm1(mean))))
    better, worse = np.array(sums[::2], np.float64), np.array(sums[1::2], np.float64)
    return better - worse


def _flat(pairs: Sequence[Pair]) -> list[Datum]:
    return [d for pair in pairs for d in pair]
