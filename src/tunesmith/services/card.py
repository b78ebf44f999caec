"""The summary of a run: a dozen numbers that say whether it helped and whether they can be trusted."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import fmean, stdev
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.health.history import Series, series
from tunesmith.health.texts import SIGNS
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


AGAIN = "again"
"""Folder of a repeated run."""
OF_SAMPLING = ("heldout_ci95", "truncated_share", "reward_hack_signs", "tokens_sampled")
"""Numbers of the card that sft and dpo have not: they sample nothing."""


@dataclass(frozen=True, slots=True)
class Card:
    """``card.json``. A number that the run has not measured is None."""

    run_dir: str
    state: str
    steps: int
    result_step: int
    """Step whose weights are the result: the best one where held-out rows chose it, else the last."""
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
    truncated_share: float | None
    """Responses cut off at the limit, in the newest evaluation, or the newest step where nothing is held out."""
    reward_hack_signs: list[str]
    """Ways in which texts turned odd between the first steps and the last, with their numbers."""
    tokens_sampled: int
    tokens_trained: int
    """Packed tokens that went through the model for a gradient, all updates."""
    seconds: float | None
    """From first start to end."""
    findings: list[dict[str, Any]]
    reproduce: str
    """The command that does the same again, beside the run."""

    def as_dict(self, kind: str) -> dict[str, Any]:
        """What card.json holds for a kind of job: rft has held-out rewards, sft and dpo held-out losses."""
        other = "heldout_loss_" if kind == "rft" else "heldout_reward_"
        card = {name: value for name, value in asdict(self).items() if not name.startswith(other)}
        return card if kind == "rft" else {name: value for name, value in card.items() if name not in OF_SAMPLING}


def build_card(run: RunFolder, result_step: int | None = None) -> Card:
    """The card of a run as it stands, from its files alone; works on an unfinished or empty run.

    Args:
        result_step: whose weights are the result; None for the last.
    """
    history, state, spec = run.metrics(), run.state(), run.spec()
    reward, loss = series(history, "eval/reward_mean"), series(history, "eval/loss")
    updates = series(history, "optim/updates").values
    cut = _newest(history, "eval/truncated_share")
    return Card(
        run_dir=str(run.path),
        state=state.state,
        steps=state.step,
        result_step=state.step if result_step is None else result_step,
        optimizer_updates=int(sum(updates)) if updates else None,
        heldout_reward_before=_before(reward.values),
        heldout_reward_after=_after(reward, result_step),
        heldout_ci95=_change_interval(run, result_step),
        heldout_loss_before=_before(loss.values),
        heldout_loss_after=_after(loss, result_step),
        weight_change_norm=_at_or_newest(series(history, "optim/weight_change"), result_step),
        sampler_gap_max=max(series(history, "gap/max").values, default=None),
        truncated_share=_newest(history, "rollout/truncated_share") if cut is None else cut,
        reward_hack_signs=[sign for test in SIGNS if (sign := test(history, spec))],
        tokens_sampled=_total(history, "rollout/tokens") + _total(history, "eval/tokens"),
        tokens_trained=_total(history, "train/packed_tokens"),
        seconds=_seconds(state),
        findings=[asdict(finding) for finding in run.findings()],
        reproduce=reproduce(run),
    )


def reproduce(run: RunFolder) -> str:
    """The command that does a run again: from its own settings, or from its parent where it is a fork."""
    origin = run.parent()
    if origin is None:
        return shlex.join(
            ["tunesmith", run.state().kind, "run", "--spec", str(run.path / "spec.yaml"), "--output-dir", AGAIN]
        )
    words = ["tunesmith", "fork", origin.run, "--at-step", str(origin.step)]
    for name, (_, value) in origin.changed.items():
        words += as_flags(name, value)
    return shlex.join(words)


def as_flags(setting: str, value: Any) -> list[str]:
    """A setting as a command takes it: ``--epochs 2``, ``--no-eval-auto-carveout``, a flag to each entry of a list."""
    name = setting.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [part for item in (value if isinstance(value, list) else [value]) for part in (f"--{name}", str(item))]


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


def _change_interval(run: RunFolder, at: int | None) -> tuple[float, float] | None:
    steps = run.rollout_steps("eval")
    if len(steps) < 2:
        return None
    before, after = _row_means(run, steps[0]), _row_means(run, steps[-1] if at is None or at not in steps else at)
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


def _after(held_out: Series, step: int | None) -> float | None:
    return _at_or_newest(held_out, step) if len(held_out) > 1 else None


def _at_or_newest(values: Series, step: int | None) -> float | None:
    found = None if step is None else values.at(step)
    return values.values[-1] if found is None and values.values else found


def _total(history: Sequence[Metrics], name: str) -> int:
    return int(sum(series(history, name).values))


def _newest(history: Sequence[Metrics], name: str) -> float | None:
    values = series(history, name).values
    return values[-1] if values else None


def _seconds(state: RunState) -> float | None:
    if state.started_at is None or state.ended_at is None:
        return None
    return (datetime.fromisoformat(state.ended_at) - datetime.fromisoformat(state.started_at)).total_seconds()
