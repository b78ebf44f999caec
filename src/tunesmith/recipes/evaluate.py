"""Held-out rows: sampled and graded as in training, so that before and after can be compared."""

import asyncio
from collections.abc import Sequence

from tunesmith.core.ports import Roller
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Group, Metrics, Prompt
from tunesmith.recipes.measure import describe
from tunesmith.recipes.report import Judgement, RolloutLog
from tunesmith.spec import RftSpec


async def evaluate(spec: RftSpec, prompts: Sequence[Prompt], roller: Roller) -> tuple[Metrics, RolloutLog]:
    """Score held-out prompts; the seeds are the same at every step, so the noise of sampling mostly cancels."""

    async def one(prompt: Prompt) -> Group:
        params = spec.sampling(spec.temperature, seed_of(spec.seed, "eval", prompt.prompt_id))
        return await roller.roll(prompt, params, spec.eval_samples)

    groups = await asyncio.gather(*map(one, prompts))
    judged: list[list[Judgement]] = [[(None, "held out")] * len(g.rollouts) for g in groups]
    return describe(groups, "eval"), RolloutLog("eval", groups, judged, [[None] * len(g.rollouts) for g in groups])
