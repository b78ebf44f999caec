"""Try a grader on real attempts: scores, failures, speed, and how much a job could learn from it."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tunesmith.core.ports import Grader, Roller
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Group, Rollout
from tunesmith.data import RftRow, load_rows
from tunesmith.grading import GraderPool, grader_of
from tunesmith.grading.error_report import top_errors
from tunesmith.grading.forecast import advise_signal, expected_signal_share, histogram
from tunesmith.grading.projects.manifest import PROJECT
from tunesmith.rollout.collect import SingleTurn, grade
from tunesmith.services.engine import build_engine
from tunesmith.services.local_judge import judge_of
from tunesmith.services.names import base_model
from tunesmith.services.outside import Outside
from tunesmith.services.prepare import prepare_rft
from tunesmith.services.project_grader import any_grader
from tunesmith.services.rollers import roller_of
from tunesmith.spec import RftSpec


@dataclass(frozen=True, slots=True)
class Trial:
    """What grading a sample of attempts showed."""

    rows: int
    attempts: int
    reward_mean: float | None
    failures: dict[str, int]
    """Label -> attempts."""
    top_errors: str
    ms_per_call: float
    ms_slowest: float
    histogram: list[tuple[float, float, int]]
    """(from, to, attempts) of rewards."""
    groups_with_signal: float | None
    """Share of the sampled groups whose attempts differ in score; None without a model."""
    expected_signal: float | None
    """The same as the pass rates would have it on average: mean of 1 - p^n - (1 - p)^n."""
    advice: list[str]
    """What would change it."""
    examples: list[dict[str, Any]]
    """A few graded attempts."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def try_grader(spec: RftSpec, rows: int, sample: bool, secrets: Mapping[str, str] | None = None) -> Trial:
    """Grade n attempts at each of the first rows: the model's own, or without one the row's recorded answer.

    Args:
        secrets: environment variables for an uploaded evaluator.
    """
    return asyncio.run(_sampled(spec, rows, secrets or {}) if sample else _recorded(spec, rows, secrets or {}))


async def _sampled(spec: RftSpec, rows: int, secrets: Mapping[str, str]) -> Trial:
    engine = build_engine(base_model(spec.base_model), lora_rank=8, max_rows=spec.concurrency())
    prompts = prepare_rft(spec, engine.renderer, engine.model.config.max_positions).train[:rows]
    n = spec.response_candidates_count

    async def groups_of(roller: Roller) -> list[Group]:
        params = [spec.sampling(spec.temperature, seed_of("try", i)) for i in range(len(prompts))]
        return list(await asyncio.gather(*(roller.roll(p, given, n) for p, given in zip(prompts, params, strict=True))))

    if str(spec.evaluator).startswith(PROJECT):
        began = time.perf_counter()
        async with roller_of(spec, engine, Outside(secrets)) as project:
            groups = await groups_of(project)
        # A project may make its attempts itself, so that sampling and grading cannot be told apart.
        took = time.perf_counter() - began
        timing = (took, took)
    else:
        pool = grader_of(spec, judge_of(spec.evaluator))
        async with pool as grader:
            groups = await groups_of(SingleTurn(engine.sampler, grader, engine.renderer.decode))
            timing = (pool.stats().seconds_total, pool.stats().seconds_max)
    rates = _pass_rates(groups)
    advice = advise_signal(rates, n, spec.temperature)
    signal = fmean(len({r.score.reward for r in g.rollouts if r.score}) > 1 for g in groups)
    return _trial(groups, timing, signal, expected_signal_share(rates, n) if rates else None, advice)


async def _recorded(spec: RftSpec, rows: int, secrets: Mapping[str, str]) -> Trial:
    found: Sequence[RftRow] = load_rows(Path(spec.dataset), "rft", spec.skip_bad_rows).rows[:rows]
    async with any_grader(spec, secrets) as grader:
        began = time.perf_counter()
        groups = await asyncio.gather(*(_grade_recorded(row, grader) for row in found))
        took = slowest = time.perf_counter() - began
        if isinstance(grader, GraderPool):
            took, slowest = grader.stats().seconds_total or took, grader.stats().seconds_max
    advice = ["These are recorded answers. Add --base-model to grade a model's own attempts and forecast the signal."]
    return _trial(groups, (took, slowest), None, None, advice)


async def _grade_recorded(row: RftRow, grader: Grader) -> Group:
    """The first of the usual answer fields, or of a list there, graded as if the model had said it."""
    names = ("completion", "answer", "ground_truth", "target", "expected")
    found = next((row.row[name] for name in names if name in row.row), "")
    text = str(found[0] if isinstance(found, list) and found else found)
    return Group(row.prompt_id, row.row, (await grade(Rollout((), text, 0, "stop"), row.row, grader),))


def _pass_rates(groups: Sequence[Group]) -> list[float]:
    """Per prompt, the mean reward on a scale from the lowest to the highest reward seen."""
    rewards = [[r.score.reward for r in g.rollouts if r.score] for g in groups]
    every = [x for group in rewards for x in group]
    if not every or max(every) == min(every):
        return [float(bool(every) and max(every) > 0)] * len([g for g in rewards if g])
    low, span = min(every), max(every) - min(every)
    return [fmean((x - low) / span for x in group) for group in rewards if group]


def _trial(
    groups: Sequence[Group],
    seconds: tuple[float, float],
    signal: float | None,
    expected: float | None,
    advice: list[str],
) -> Trial:
    rollouts = [r for g in groups for r in g.rollouts]
    rewards = [r.score.reward for r in rollouts if r.score]
    errors = [r.error for r in rollouts if r.error]
    examples = [
        {"prompt_id": g.prompt_id, "text": r.text, "reward": r.score.reward if r.score else None, "error": r.error}
        for g in groups[:3]
        for r in g.rollouts[:2]
    ]
    return Trial(
        rows=len(groups),
        attempts=len(rollouts),
        reward_mean=fmean(rewards) if rewards else None,
        failures=dict(Counter(e.split(":", 1)[0] for e in errors)),
        top_errors=top_errors(errors) if errors else "",
        ms_per_call=seconds[0] / len(rollouts) * 1000,
        ms_slowest=seconds[1] * 1000,
        histogram=histogram(rewards),
        groups_with_signal=signal,
        expected_signal=expected,
        advice=advice,
        examples=examples,
    )
