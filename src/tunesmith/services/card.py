"""The summary of a run: a dozen numbers that say whether it helped and whether they can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import fmean, stdev
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.health.history import series
from tunesmith.services.run_folder import ENDED, RunFolder, RunState

T975 = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)
"""97.5% point of Student's t for 1 to 30 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Card:
    """``card.json``. A number that the run has not measured is None."""

    run_dir: str
    state: str
    steps: int
    optimizer_updates: int | None
    heldout_reward_before: float | None
    heldout_reward_after: float | None
    heldout_ci95: tuple[float, float] | None
    """95% interval of the change, after - before, over held-out rows."""
    heldout_loss_before: float | None
    heldout_loss_after: float | None
    weight_change_norm: float | None
    sampler_gap_max: float | None
    """Largest gap of any step, nats."""
    seconds: float | None
    """From first start to end."""
    findings: list[dict[str, Any]]

    def as_dict(self, kind: str) -> dict[str, Any]:
        """What card.json holds for a kind of job: rft has held-out rewards, sft and dpo held-out losses."""
        other = "heldout_loss_" if kind == "rft" else "heldout_reward_"
        card = {name: value for name, value in asdict(self).items() if not name.startswith(other)}
        if kind != "rft":
            card.pop("heldout_ci95")
        return card


def build_card(run: RunFolder) -> Card:
    """The card of a run as it stands, from its files alone; works on an unfinished or empty run."""
    history, state = run.metrics(), run.state()
    reward, loss = series(history, "eval/reward_mean"), series(history, "eval/loss")
    updates = series(history, "optim/updates").values
    return Card(
        run_dir=str(run.path),
        state=state.state,
        steps=state.step,
        optimizer_updates=int(sum(updates)) if updates else None,
        heldout_reward_before=_before(reward.values),
        heldout_reward_after=_after(reward.values),
        heldout_ci95=_change_interval(run),
        heldout_loss_before=_before(loss.values),
        heldout_loss_after=_after(loss.values),
        weight_change_norm=_newest(history, "optim/weight_change"),
        sampler_gap_max=max(series(history, "gap/max").values, default=None),
        seconds=_seconds(state),
        findings=[asdict(finding) for finding in run.findings()],
    )


def current_card(run: RunFolder) -> dict[str, Any]:
    """card.json once the run has ended, completed by what its files say; before that, the latter alone."""
    state = run.state()
    return build_card(run).as_dict(state.kind) | (run.card() if state.state in ENDED else {})


def change_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of the mean of after - before, paired row by row (Student's t); None for fewer than two rows."""
    return mean_interval([b - a for a, b in zip(before, after, strict=True)])


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of a mean (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    quantile = T975[freedom - 1] if freedom <= len(T975) else 1.96 + 2.4 / freedom
    half = quantile * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def _change_interval(run: RunFolder) -> tuple[float, float] | None:
    steps = run.rollout_steps("eval")
    if len(steps) < 2:
        return None
    before, after = _row_means(run, steps[0]), _row_means(run, steps[-1])
    both = [row for row in before if row in after]
    return change_interval([before[row] for row in both], [after[row] for row in both])


def _row_means(run: RunFolder, step: int) -> dict[str, float]:
    """Mean reward of each held-out row; rows whose every grading failed are left out."""
    rewards: dict[str, list[float]] = {}
    for attempt in run.read_rollouts("eval", step, ["prompt_id", "reward"]):
        if attempt["reward"] is not None:
            rewards.setdefault(attempt["prompt_id"], []).append(attempt["reward"])
    return {row: fmean(values) for row, values in rewards.items()}


def _before(values: Sequence[float]) -> float | None:
    return values[0] if values else None


def _after(values: Sequence[float]) -> float | None:
    return values[-1] if len(values) > 1 else None


def _newest(history: Sequence[Metrics], name: str) -> float | None:
    values = series(history, name).values
    return values[-1] if values else None


def _seconds(state: RunState) -> float | None:
    if state.started_at is None or state.ended_at is None:
        return None
    return (datetime.fromisoformat(state.ended_at) - datetime.fromisoformat(state.started_at)).total_seconds()
