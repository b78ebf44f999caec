"""Tokens told as they are drawn: the same as the completion's, in order, the last with the reason."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.types import NewToken, SamplingParams
from tunesmith.rollout import LocalSampler

HOT = SamplingParams(max_tokens=12, temperature=1.5, top_k=5, seed=4, top_logprobs=3)


@pytest.fixture
def sampler(model_folder) -> LocalSampler:
    return policies.pair(model_folder("qwen3"))[1]


def test_what_is_told_is_the_completion(sampler):
    heard: list[NewToken] = []
    found = asyncio.run(sampler.sample(policies.prompt(9), HOT, 40, heard.append))
    assert {c.stop for c in found} == {"stop", "length"}
    for i, completion in enumerate(found):
        own = [t for t in heard if t.candidate == i]
        assert [t.token for t in own] == completion.tokens.tolist()
        assert np.array_equal(np.array([t.logprob for t in own], np.float32), completion.logprobs)
        assert np.array_equal(np.array([t.sampling_logprob for t in own], np.float32), completion.sampling_logprobs)
        assert np.array_equal([t.top_ids for t in own], completion.top_ids)
        assert np.array_equal([t.top_logprobs for t in own], completion.top_logprobs)
        assert [t.stop for t in own] == [None] * (len(own) - 1) + [completion.stop]


def test_tokens_are_told_before_the_completion_is_there(sampler):
    async def first_and_rest() -> tuple[NewToken, bool]:
        heard: asyncio.Queue[NewToken] = asyncio.Queue()
        work = asyncio.create_task(sampler.sample(policies.prompt(9), replace(HOT, stop_ids=()), 1, heard.put_nowait))
        first = await heard.get()
        done = work.done()
        await work
        return first, done

    first, done = asyncio.run(first_and_rest())
    assert (first.candidate, first.stop, first.top_ids is None, done) == (0, None, False, False)
