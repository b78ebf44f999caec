"""What a job will take, before it is run: a few real steps in a folder that is thrown away."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.services.engine import Engine, engine_of
from tunesmith.services.keeping import Keeper
from tunesmith.services.memory import peak_bytes
from tunesmith.services.outside import Outside
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.worker import Recipe, recipe_of
from tunesmith.spec import AnySpec, RftSpec

STEPS = 4
"""Steps of the rehearsal; the first warms up and is not timed."""
PROMPTS = 64
"""Most prompts of one rehearsed RFT step; larger steps are scaled up from there."""
HELD_OUT = 200
SIGNAL_KEPT = 0.65
"""Training work of an average RFT step against the first ones: as a policy learns, fewer groups have a signal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job will take on this machine."""

    steps: int
    rollouts_per_step: int
    """0 where nothing is sampled."""
    optimizer_updates: int
    tokens: int
    """Sampled tokens of an RFT job, trained tokens of SFT and DPO, all epochs."""
    peak_memory_bytes: int
    """Largest resident set of the process, Python and libraries included."""
    seconds: float
    """From the first evaluation to the last, without start-up."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(spec: AnySpec, secrets: Mapping[str, str] | None = None) -> Plan:
    """Check everything a job would refuse, rehearse a few steps, and scale up. Nothing is kept.

    Args:
        secrets: environment variables for an uploaded evaluator.
    """
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_rehearse(spec, Path(folder), secrets))


@dataclass(frozen=True, slots=True)
class _Seen:
    """One rehearsed step, storing included."""

    metrics: Metrics
    step_s: float
    """Without the evaluation."""
    train_s: float
    """Part of it that updates the weights."""
    eval_s: float


async def _rehearse(spec: AnySpec, folder: Path, secrets: Mapping[str, str] | None) -> Plan:
    small = spec.model_copy(update={"eval_every": STEPS, "epochs": max(spec.epochs, STEPS)})
    prompts, outside = 0, Outside(secrets or {})
    async with AsyncExitStack() as stack:
        engine = engine_of(spec)
        full = await recipe_of(spec, engine, stack, -1, {}, outside=outside)
        if isinstance(spec, RftSpec):
            prompts = spec.prompts_per_chunk(full.rows)
            small = small.model_copy(update={"chunk_size": min(prompts, PROMPTS)})
        heldout = min(full.heldout, HELD_OUT)
        rehearsal = await recipe_of(small, engine, stack, -1, {}, heldout=heldout, outside=outside)
        run = RunFolder(folder / "run").create(spec.model_dump(), spec.kind)
        seen = await _steps(rehearsal, run, small, engine)
    scale = max(1.0, prompts / PROMPTS)
    timed = seen[2:] or seen[1:]
    kept = SIGNAL_KEPT if isinstance(spec, RftSpec) else 1.0
    step_s = scale * fmean(s.step_s - (1 - kept) * s.train_s for s in timed)
    evaluations = 2 + (full.num_steps - 1) // spec.eval_every if spec.eval_every else 2
    eval_s = seen[-1].eval_s * (full.heldout / heldout if heldout else 0)
    tokens = fmean(s.metrics.get("rollout/tokens", s.metrics.get("train/tokens", 0.0)) for s in timed)
    return Plan(
        steps=full.num_steps,
        rollouts_per_step=prompts * spec.response_candidates_count if isinstance(spec, RftSpec) else 0,
        optimizer_updates=round(full.num_steps * max(1.0, kept * scale * fmean(map(_updates, timed)))),
        tokens=int(full.num_steps * scale * tokens),
        peak_memory_bytes=peak_bytes(),
        seconds=full.num_steps * step_s + evaluations * eval_s,
    )


async def _steps(rehearsal: Recipe, run: RunFolder, spec: AnySpec, engine: Engine) -> list[_Seen]:
    """The evaluation before training, and up to STEPS steps of which the last is evaluated."""
    seen: list[_Seen] = []
    keeper = Keeper(run, spec, engine, rehearsal.num_steps)
    began = time.perf_counter()
    async for report in rehearsal.steps:
        keeper.keep(report)
        took, began = time.perf_counter() - began, time.perf_counter()
        eval_s = report.timing.get("time/eval_s", 0.0)
        seen.append(_Seen(report.metrics, took - eval_s, report.timing.get("time/train_s", 0.0), eval_s))
        if report.step >= STEPS:
            break
    return seen


def _updates(seen: _Seen) -> float:
    return seen.metrics["optim/updates"]
