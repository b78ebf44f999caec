"""Our side of a race: the product's own engine and recipes, driven as the worker drives them, without the disk."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.turns import Clock, Turns
from bench.workload import DPO_PAIRS, KL_BETA, LEARNING_RATE, MAX_TOKENS, PROMPTS, SFT_ROWS, Case, reward
from tunesmith.core.types import Rollout, Row, Score
from tunesmith.recipes import dpo, rft, sft
from tunesmith.recipes.report import StepReport
from tunesmith.rollout.collect import SingleTurn
from tunesmith.services.engine import Engine, engine_of
from tunesmith.services.prepare import prepare_dpo, prepare_rft, prepare_sft
from tunesmith.spec import AnySpec, DpoSpec, RftSpec, SftSpec


class InlineGrader:
    """The reward without a process around it, as the peer's reward functions are called."""

    async def __call__(self, rollout: Rollout, row: Row) -> Score:
        return Score(reward(rollout.text))


def run(case: Case, folder: Path, turns: Turns) -> None:
    """Load, then one optimizer step per turn."""
    spec = spec_of(case, folder)
    engine = engine_of(spec)
    steps = recipe(spec, engine)
    asyncio.run(_race(case, steps, turns))


def spec_of(case: Case, folder: Path) -> AnySpec:
    """The job that a user would write for this case."""
    shared: dict[str, Any] = {
        "base_model": str(folder / "model"),
        "dataset": str(folder / "data.jsonl"),
        "lora_rank": case.rank,
        "learning_rate": LEARNING_RATE,
        "eval_auto_carveout": False,
        "max_context_length": 2048,
    }
    if case.kind == "sft":
        return SftSpec(**shared, batch_size_samples=SFT_ROWS)
    if case.kind == "dpo":
        return DpoSpec(**shared, batch_size_samples=DPO_PAIRS)
    return RftSpec(
        **shared,
        evaluator="inline",
        chunk_size=PROMPTS,
        max_tokens=MAX_TOKENS,
        temperature=1.0,
        top_k=0,
        rl_kl_beta=KL_BETA,
    )


def recipe(spec: AnySpec, engine: Engine) -> AsyncIterator[StepReport]:
    context = engine.model.config.max_positions
    if isinstance(spec, RftSpec):
        prompts = prepare_rft(spec, engine.renderer, context).train
        roller = SingleTurn(engine.sampler, InlineGrader(), engine.renderer.decode)
        return rft.run(rft.RftJob(spec, prompts, [], engine.sampler, engine.trainer, roller))
    if isinstance(spec, SftSpec):
        return sft.run(sft.SftJob(spec, prepare_sft(spec, engine.renderer, context).train, [], engine.trainer))
    return dpo.run(dpo.DpoJob(spec, prepare_dpo(spec, engine.renderer, context).train, [], engine.trainer))


async def _race(case: Case, steps: AsyncIterator[StepReport], turns: Turns) -> None:
    """What a DPO job does before its first step, to score the reference of all pairs, is shared out to the steps."""
    clock = Clock()
    await anext(steps)
    before = clock.read() if case.kind == "dpo" else None
    go = turns.ready()
    while go:
        report = await anext(steps)
        go = turns.finished(report.metrics.get("gap/max", 0.0), before, 1 / case.steps)
