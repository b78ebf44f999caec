"""Rehearse a job on the embedded model for at most a minute: data, template, grader and settings, before a GPU hour.

What needs the real model's tokenizer and template is checked with those; nothing loads its weights.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.core.types import Finding, Metrics
from tunesmith.grading.error_report import top_errors
from tunesmith.health import examine
from tunesmith.models.chat import load_renderer
from tunesmith.models.config import read_config
from tunesmith.recipes.report import StepReport
from tunesmith.services import names
from tunesmith.services.engine import engine_of
from tunesmith.services.keeping import Keeper
from tunesmith.services.prepare import prepare_dpo, prepare_rft, prepare_sft
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.worker import recipe_of
from tunesmith.spec import AnySpec, DpoSpec, RftSpec

STEPS, PROMPTS, TOKENS = 6, 8, 128
"""Most steps, prompts of a step and tokens of a response."""
SECONDS = 60.0
NOT_TOLD = frozenset({"no_signal", "truncation", "solved", "mode_collapse", "early_plateau", "small_groups"})
"""Findings that say how good the embedded model is at the task, which is not the question."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would have gone wrong, and what went well."""

    checks: list[Check]
    steps: int
    """Steps that ran on the embedded model."""
    seconds: float
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def rehearse(spec: AnySpec, seconds: float = SECONDS) -> Rehearsal:
    """Check a job's data with its own model's template, then run it on the embedded model. Nothing is kept."""
    began = time.monotonic()
    checks = [_check("data and template", lambda: _data(spec)), _check("settings", lambda: _settings(spec))]
    reports: list[StepReport] = []

    def job() -> str:
        with tempfile.TemporaryDirectory() as folder:
            reports.extend(asyncio.run(_run(_small(spec), Path(folder), began + seconds)))
        return f"{reports[-1].step} steps on the embedded model"

    checks.append(_check("job", job))
    history: list[Metrics] = [{"step": float(r.step), **r.metrics} for r in reports]
    if isinstance(spec, RftSpec) and reports:
        checks.append(_check("grader", lambda: _grader(reports)))
    found = [f for f in examine(history, spec.model_dump()) if f.rule not in NOT_TOLD]
    return Rehearsal(checks, len(reports) - 1 if reports else 0, time.monotonic() - began, found)


def _check(name: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(name, True, attempt())
    except UserError as e:
        return Check(name, False, str(e))


def _data(spec: AnySpec) -> str:
    """Every row through the template of the job's own model, within its context."""
    base = names.base_model(spec.base_model)
    renderer, context = load_renderer(base), read_config(base).max_positions
    if isinstance(spec, RftSpec):
        prompts = prepare_rft(spec, renderer, context)
        return _said(len(prompts.train), prompts.notes, renderer.notes)
    if isinstance(spec, DpoSpec):
        pairs = prepare_dpo(spec, renderer, context)
        return _said(len(pairs.train), pairs.notes, renderer.notes)
    data = prepare_sft(spec, renderer, context)
    return _said(len(data.train), data.notes, renderer.notes)


def _said(rows: int, *notes: Sequence[str]) -> str:
    return "; ".join([f"{rows} training rows", *(note for some in notes for note in some)])


def _settings(spec: AnySpec) -> str:
    if spec.warm_start_from is not None:
        names.adapter_folder(spec.warm_start_from)
    return "; ".join(spec.warnings()) or "inside their bounds"


def _small(spec: AnySpec) -> AnySpec:
    """The same job where the embedded model can do it in seconds."""
    small: dict[str, Any] = {
        "base_model": "embedded",
        "warm_start_from": None,
        "lora_rank": spec.lora_rank and min(spec.lora_rank, 8),
        "limits": "off",
        "skip_bad_rows": True,
        "eval_every": 0,
        "early_stop_patience": None,
        "report_to": [],
    }
    if isinstance(spec, RftSpec):
        room = read_config(names.embedded_model()).max_positions
        small |= {
            "chunk_size": PROMPTS,
            "max_tokens": min(spec.max_tokens, TOKENS),
            "eval_samples": 1,
            "max_grader_error_rate": 1.0,
        }
        small["max_context_length"] = min(spec.max_context_length, room)
    return spec.model_copy(update={name: value for name, value in small.items() if name in type(spec).model_fields})


async def _run(spec: AnySpec, folder: Path, until: float) -> list[StepReport]:
    """Steps of the small job, until enough or out of time."""
    reports: list[StepReport] = []
    async with AsyncExitStack() as stack:
        engine = engine_of(spec)
        recipe = await recipe_of(spec, engine, stack, -1, {}, heldout=PROMPTS)
        run = RunFolder(folder / "run").create(spec.model_dump(), spec.kind)
        keeper = Keeper(run, spec, engine, recipe.num_steps)
        async for report in recipe.steps:
            keeper.keep(report)
            reports.append(report)
            if report.step >= STEPS or time.monotonic() > until:
                break
    return reports


def _grader(reports: list[StepReport]) -> str:
    """
    Raises:
        UserError: a grading failed; the message has the most frequent tracebacks.
    """
    rollouts = [r for report in reports for log in report.logs for group in log.groups for r in group.rollouts]
    errors = [r.error for r in rollouts if r.error]
    if errors:
        problem = f"{len(errors)} of {len(rollouts)} gradings failed:\n\n{top_errors(errors)}"
        raise UserError("evaluator", problem, "Mend the grader")
    rewards = {r.score.reward for r in rollouts if r.score}
    return f"{len(rollouts)} attempts graded, rewards from {min(rewards):g} to {max(rewards):g}"
