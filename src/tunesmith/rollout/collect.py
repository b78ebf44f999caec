"""One prompt in, one graded group out. A failed grading is data (``error``), never a crash of its siblings."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tunesmith.core.ports import Grader, GradingError, Sampler
from tunesmith.core.types import Completion, Group, Ints, Rollout, Row, SamplingParams, Segment


@dataclass(frozen=True, slots=True)
class Prompt:
    """A dataset row, rendered."""

    prompt_id: str
    row: Row
    tokens: Ints
    """[L] ids."""


async def collect_group(
    prompt: Prompt, sampler: Sampler, params: SamplingParams, n: int, grader: Grader, decode: Callable[[Ints], str]
) -> Group:
    """n attempts at one prompt, each graded as soon as all are sampled."""
    completions = await sampler.sample(prompt.tokens, params, n)
    attempts = [single_turn(prompt.tokens, c, params.temperature, decode) for c in completions]
    graded = await asyncio.gather(*(grade(a, prompt.row, grader) for a in attempts))
    return Group(prompt.prompt_id, prompt.row, tuple(graded))


def single_turn(prompt: Ints, c: Completion, temperature: float, decode: Callable[[Ints], str]) -> Rollout:
    """Prompt and reply as one Segment: only the reply is sampled, only it carries log-probabilities."""
    before, after = len(prompt), len(c.tokens)
    segment = Segment(
        tokens=np.concatenate([prompt, c.tokens]).astype(np.int32),
        sampled=np.arange(before + after) >= before,
        logprobs=np.concatenate([np.zeros(before, np.float32), c.logprobs]),
        temperature=temperature or 1.0,
    )
    return Rollout((segment,), decode(c.tokens), c.version, c.stop)


async def grade(rollout: Rollout, row: Row, grader: Grader) -> Rollout:
    """The rollout with its score, or with what went wrong."""
    try:
        return replace(rollout, score=await grader(rollout, row))
    except GradingError as e:
        return replace(rollout, error=str(e))
