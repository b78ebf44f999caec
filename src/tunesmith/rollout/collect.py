"""One prompt in, one graded group out. A failed grading is data (``error``), never a crash of its siblings."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tunesmith.core.ports import Grader, GradingError, Sampler
from tunesmith.core.types import Completion, Group, Ints, Prompt, Rollout, Row, SamplingParams, Segment
from tunesmith.rollout.stopwatch import Stopwatch


class SingleTurn:
    """The ``Roller`` of graders: an attempt is one reply to the prompt."""

    def __init__(self, sampler: Sampler, grader: Grader, decode: Callable[[Ints], str]) -> None:
        self.sampler, self.grader, self.decode = sampler, Stopwatch(grader), decode

    def grading_s(self) -> float:
        return self.grader.waited_s()

    async def roll(self, prompt: Prompt, params: SamplingParams, n: int) -> Group:
        """n attempts at one prompt, each graded as soon as all are sampled."""
        completions = await self.sampler.sample(prompt.tokens, params, n)
        attempts = [single_turn(prompt.tokens, c, params.temperature, self.decode) for c in completions]
        graded = await asyncio.gather(*(grade(a, prompt.row, self.grader) for a in attempts))
        return Group(prompt.prompt_id, prompt.row, tuple(graded))


class RecordedAnswers:
    """The ``Roller`` of answers that rows hold already, at the end of their messages: each is graded once."""

    def __init__(self, grader: Grader) -> None:
        self.grader = Stopwatch(grader)

    def grading_s(self) -> float:
        return self.grader.waited_s()

    async def roll(self, prompt: Prompt, params: SamplingParams, n: int) -> Group:
        messages = prompt.row.get("messages") or [{}]
        content = messages[-1].get("content") if messages[-1].get("role") == "assistant" else None
        if isinstance(content, list):
            content = "".join(str(part.get("text") or "") for part in content)
        attempt = Rollout((), content or "", 0, "stop")
        if content is None:
            missing = GradingError("bad_row", "its messages do not end with an answer; name a model to sample one")
            return Group(prompt.prompt_id, prompt.row, (replace(attempt, error=str(missing)),))
        return Group(prompt.prompt_id, prompt.row, (await grade(attempt, prompt.row, self.grader),))


class RecordedAttempts:
    """The ``Roller`` of attempts that were made and judged before the job: the policy says how likely it finds them.

    So they count as its own of this moment, and the ratio of a first update is 1, whoever made them.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def grading_s(self) -> float:
        return 0.0

    async def roll(self, prompt: Prompt, params: SamplingParams, n: int) -> Group:
        attempts = await asyncio.gather(*map(self._scored, prompt.attempts))
        return Group(prompt.prompt_id, prompt.row, tuple(attempts))

    async def _scored(self, attempt: Rollout) -> Rollout:
        (segment,) = attempt.segments
        said = await self.sampler.compute_logprobs(segment.tokens)
        logprobs = np.where(segment.sampled, said, np.float32(0))
        return replace(attempt, segments=(replace(segment, logprobs=logprobs),), version=self.sampler.version)


def single_turn(prompt: Ints, c: Completion, temperature: float, decode: Callable[[Ints], str]) -> Rollout:
    """Prompt and reply as one Segment: only the reply is sampled, only it carries log-probabilities."""
    before, after = len(prompt), len(c.tokens)
    segment = Segment(
        tokens=np.concatenate([prompt, c.tokens]).astype(np.int32),
        sampled=np.arange(before + after) >= before,
        logprobs=np.concatenate([np.zeros(before, np.float32), c.logprobs]),
        temperature=temperature or 1.0,
        entropies=None if c.entropies is None else np.concatenate([np.zeros(before, np.float32), c.entropies]),
    )
    return Rollout((segment,), decode(c.tokens), c.version, c.stop)


async def grade(rollout: Rollout, row: Row, grader: Grader) -> Rollout:
    """The rollout with its score, or with what went wrong."""
    try:
        return replace(rollout, score=await grader(rollout, row))
    except GradingError as e:
        return replace(rollout, error=str(e))
