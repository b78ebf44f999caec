"""Replay the attempts of a run through a changed grader, before a token is spent on training with it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.types import Rollout, Segment
from tunesmith.grading.error_report import top_errors
from tunesmith.recipes.measure import PASS
from tunesmith.rollout.collect import grade
from tunesmith.services.agreement import kendall, spearman
from tunesmith.services.project_grader import any_grader
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import RftSpec, build_spec

COLUMNS = ("step", "prompt_id", "prompt_text", "row", "text", "tokens", "sampled", "reward", "stop", "version")
EXAMPLES = 10
"""Attempts shown that changed sides, most changed first."""


@dataclass(frozen=True, slots=True)
class Regrade:
    """Old and new rewards of the same attempts."""

    run: str
    evaluator: list[str]
    attempts: int
    """That both graders scored."""
    failures: dict[str, int]
    """Label -> attempts that the new grader failed on."""
    top_errors: str
    reward_mean_old: float
    reward_mean_new: float
    spearman: float | None
    """Rank agreement over all attempts; None where one grader scores all alike."""
    kendall: float | None
    """Mean rank agreement within groups, which is what training sees; None where no group has two orders."""
    signal_old: float
    """Share of groups whose attempts differ in score."""
    signal_new: float
    changed_sides: int
    """Attempts that passed (0.5 or more) and no longer do, or the other way."""
    examples: list[dict[str, Any]]
    """Some of those: prompt_id, step, prompt_text, text, old, new, reason."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def regrade(
    run: RunFolder,
    evaluator: str | Sequence[str],
    steps: int | None = None,
    name: str = "step",
    secrets: Mapping[str, str] | None = None,
) -> Regrade:
    """Grade the stored attempts of a run anew.

    Args:
        evaluator: as the setting of that name.
        secrets: environment variables for an uploaded evaluator.
        steps: the newest so many steps; None is all.
        name: "step" for training attempts, "eval" for held-out ones.

    Raises:
        NotFound: the run has no attempts.
        UserError: a run without a grader, or an evaluator that cannot be used.
    """
    if run.state().kind != "rft":
        raise UserError(str(run.path), f"is a run of {run.state().kind}, which samples nothing", "Give an rft run")
    kept = run.rollout_steps(name)[-steps:] if steps else run.rollout_steps(name)
    stored = [attempt for step in kept for attempt in run.read_rollouts(name, step, COLUMNS)]
    if not stored:
        raise NotFound(str(run.path), f"has no {name} attempts", "Give a run that has finished a step")
    names = [evaluator] if isinstance(evaluator, str) else list(evaluator)
    spec = build_spec({**run.spec(), "evaluator": names[0] if len(names) == 1 else names}, "rft")
    assert isinstance(spec, RftSpec), "kind is rft"
    return _compare(run, names, stored, asyncio.run(_graded(spec, stored, secrets)))


async def _graded(spec: RftSpec, stored: Sequence[dict[str, Any]], secrets: Mapping[str, str] | None) -> list[Rollout]:
    async with any_grader(spec, secrets) as grader:
        return list(await asyncio.gather(*(grade(_rollout(a), a["row"], grader) for a in stored)))


def _rollout(attempt: dict[str, Any]) -> Rollout:
    tokens = np.array(attempt["tokens"], np.int32)
    segment = Segment(tokens, np.array(attempt["sampled"], np.bool_), np.zeros(len(tokens), np.float32))
    return Rollout((segment,), attempt["text"], attempt["version"], attempt["stop"])


def _compare(run: RunFolder, evaluator: list[str], stored: Sequence[dict[str, Any]], new: Sequence[Rollout]) -> Regrade:
    errors = [r.error for r in new if r.error]
    both = [
        (attempt, attempt["reward"], r.score.reward, r.score.reason)
        for attempt, r in zip(stored, new, strict=True)
        if r.score is not None and attempt["reward"] is not None
    ]
    if not both:
        raise UserError("evaluator", f"scored none of {len(stored)} attempts:\n\n{top_errors(errors)}", "Mend it")
    old_rewards, new_rewards = [old for _, old, _, _ in both], [score for _, _, score, _ in both]
    groups: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for attempt, old, score, _ in both:
        groups.setdefault((attempt["step"], attempt["prompt_id"]), []).append((old, score))
    columns = [list(zip(*pairs, strict=True)) for pairs in groups.values()]
    orders = [tau for old, score in columns if (tau := kendall(old, score)) is not None]
    moved = [item for item in both if (item[1] >= PASS) != (item[2] >= PASS)]
    return Regrade(
        run=str(run.path),
        evaluator=evaluator,
        attempts=len(both),
        failures=dict(Counter(e.split(":", 1)[0] for e in errors)),
        top_errors=top_errors(errors) if errors else "",
        reward_mean_old=fmean(old_rewards),
        reward_mean_new=fmean(new_rewards),
        spearman=spearman(old_rewards, new_rewards),
        kendall=fmean(orders) if orders else None,
        signal_old=fmean(len(set(old)) > 1 for old, _ in columns),
        signal_new=fmean(len(set(score)) > 1 for _, score in columns),
        changed_sides=len(moved),
        examples=[
            {name: attempt[name] for name in ("step", "prompt_id", "prompt_text", "text")}
            | {"old": old, "new": score, "reason": reason}
            for attempt, old, score, reason in sorted(moved, key=lambda item: -abs(item[1] - item[2]))[:EXAMPLES]
        ],
    )
