"""What a job will take, before it is run: a few real steps in a folder that is thrown away."""

import asyncio
import math
import resource
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.recipes.report import StepReport
from tunesmith.services.engine import engine_of
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.worker import Watcher, keep, recipe_of
from tunesmith.spec import AnySpec, RftSpec

STEPS = 4
"""Steps of the rehearsal; the first warms up and is not timed."""
PROMPTS = 64
"""Most prompts of one rehearsed RFT step; larger steps are scaled up from there."""
HELD_OUT = 32


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


def plan(spec: AnySpec) -> Plan:
    """Check everything a job would refuse, rehearse a few steps, and scale up. Nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_rehearse(spec, Path(folder)))


@dataclass(frozen=True, slots=True)
class _Rehearsed:
    """Measured on the small job."""

    steps: list[tuple[Metrics, float]]
    """Metrics and wall seconds of every step, storing included."""
    evaluation_s: float


async def _rehearse(spec: AnySpec, folder: Path) -> Plan:
    small = spec.model_copy(update={"eval_every": 0, "epochs": max(spec.epochs, STEPS)})
    prompts = steps = 0
    async with AsyncExitStack() as stack:
        engine = engine_of(spec)
        full = await recipe_of(spec, engine, stack, -1, {})
        if isinstance(spec, RftSpec):
            prompts = spec.prompts_per_chunk(full.rows)
            small = small.model_copy(update={"chunk_size": min(prompts, PROMPTS)})
        heldout = min(full.heldout, HELD_OUT)
        rehearsal = await recipe_of(small, engine, stack, -1, {}, heldout=heldout)
        run = RunFolder(folder / "run").create(spec.model_dump(), spec.kind)
        began, found = time.perf_counter(), _Rehearsed([], 0.0)
        async for report in rehearsal.steps:
            keep(run, small, engine, report, rehearsal.num_steps, Watcher())
            took, began = time.perf_counter() - began, time.perf_counter()
            found = _noted(found, report, took)
            if report.step >= min(STEPS, rehearsal.num_steps):
                break
        steps = full.num_steps
    scale = max(1.0, prompts / PROMPTS)
    timed = found.steps[1:] or found.steps
    metrics = [m for m, _ in timed]
    evaluations = 2 + (steps - 1) // spec.eval_every if spec.eval_every else 2
    evaluation_s = found.evaluation_s * (full.heldout / heldout if heldout else 0)
    return Plan(
        steps=steps,
        rollouts_per_step=prompts * spec.response_candidates_count if isinstance(spec, RftSpec) else 0,
        optimizer_updates=steps * (math.ceil(fmean(m["optim/updates"] for m in metrics) * scale) or 1),
        tokens=int(steps * scale * fmean(m.get("rollout/tokens", m.get("train/tokens", 0.0)) for m in metrics)),
        peak_memory_bytes=_peak_bytes(),
        seconds=steps * scale * fmean(s for _, s in timed) + evaluations * evaluation_s,
    )


def _noted(found: _Rehearsed, report: StepReport, took: float) -> _Rehearsed:
    if report.step == 0:
        return _Rehearsed([], took)
    return _Rehearsed([*found.steps, (report.metrics, took)], found.evaluation_s)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
