"""A completion depends on weights, prompt, settings and its number: never on what else is being sampled."""

import asyncio

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams

PARAMS = SamplingParams(max_tokens=14, temperature=0.9, top_p=0.95, top_k=20, seed=3)
OTHERS = [
    (policies.prompt(3, 1), SamplingParams(max_tokens=9, temperature=1.4, top_k=0, seed=1), 5),
    (policies.prompt(30, 2), SamplingParams(max_tokens=4, temperature=0.0, seed=9), 1),
    (policies.prompt(1, 3), SamplingParams(max_tokens=16, temperature=0.6, top_p=0.5, seed=4), 6),
    (policies.prompt(17, 4), SamplingParams(max_tokens=1, temperature=1.0, seed=5), 8),
]


@pytest.mark.parametrize(
    ("family", "rank"), [("qwen3", 4), ("llama-many-heads", 0), ("mistral-window", 4), ("qwen3_moe", 4)]
)
def test_the_same_bits_in_any_company(model_folder, family, rank):
    start = policies.prompt(11)
    (alone,) = policies.sample(policies.pair(model_folder(family), rank)[1], (start, PARAMS, 7))
    assert len({c.tokens.tobytes() for c in alone}) > 1
    for max_rows in (1, 7, 96) if family == "qwen3" else (7, 96):
        _, sampler = policies.pair(model_folder(family), rank, max_rows)
        mixed = policies.sample(sampler, OTHERS[0], OTHERS[1], (start, PARAMS, 7), *OTHERS[2:])
        assert policies.same(mixed[2], alone)


@pytest.mark.parametrize("max_rows", [1, 7, 96])
def test_the_first_of_more_candidates_are_the_same(model_folder, max_rows):
    _, sampler = policies.pair(model_folder("qwen3"), max_rows=max_rows)
    start = policies.prompt(11)
    few, many = (policies.sample(sampler, (start, PARAMS, n))[0] for n in (3, 10))
    assert policies.same(many[:3], few)


def test_requests_that_come_while_others_run(model_folder):
    """Rows join and leave a batch in the middle; the late request gets what it would get alone."""
    _, sampler = policies.pair(model_folder("qwen3"), max_rows=8)
    start = policies.prompt(11)
    (alone,) = policies.sample(sampler, (start, PARAMS, 7))

    async def staggered():
        early = [asyncio.create_task(sampler.sample(*r)) for r in OTHERS]
        for _ in range(5):
            await asyncio.sleep(0)
        late = await sampler.sample(start, PARAMS, 7)
        return late, [await task for task in early]

    late, early = asyncio.run(staggered())
    assert policies.same(late, alone)
    for found, request in zip(early, OTHERS, strict=True):
        assert policies.same(found, policies.sample(sampler, request)[0])


def test_seeds_and_candidates_differ(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    start = policies.prompt(11)
    hot = SamplingParams(max_tokens=12, temperature=1.5, top_k=0)
    groups = policies.sample(sampler, *((start, policies.with_seed(hot, seed), 8) for seed in range(4)))
    texts = [c.tokens.tobytes() for g in groups for c in g]
    assert len(set(texts)) == 32


def test_long_completions_outgrow_their_blocks(model_folder):
    """Caches grow by a quantum of 64; the model here has 64 positions, and both sides of a block are used."""
    _, sampler = policies.pair(model_folder("mistral-window"), max_rows=3)
    params = SamplingParams(max_tokens=61, temperature=1.0, top_k=0, seed=2)
    start = policies.prompt(3)
    (alone,) = policies.sample(sampler, (start, params, 2))
    assert max(len(c.tokens) for c in alone) > 20
    assert policies.same(policies.sample(sampler, OTHERS[1], (start, params, 2), OTHERS[2])[1], alone)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_tokens_are_drawn_as_often_as_their_probability_says(model_folder, temperature):
    """The first token of 3,000 candidates against the exact distribution; one in 1000 would fail by chance."""
    _, sampler = policies.pair(model_folder("qwen3"))
    start, n = policies.prompt(6), 3000
    params = SamplingParams(max_tokens=1, temperature=temperature, top_k=3, seed=8)
    (found,) = policies.sample(sampler, (start, params, n))
    counts = dict(zip(*np.unique([c.tokens[0] for c in found], return_counts=True), strict=True))
    shares = {int(c.tokens[0]): float(np.exp(c.sampling_logprobs[0])) for c in found}
    assert len(counts) == 3
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    chi_square = sum((counts[t] - n * p) ** 2 / (n * p) for t, p in shares.items())
    assert chi_square < 13.8  # 2 degrees of freedom


def test_an_empty_prompt_and_one_without_room_are_refused(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    with pytest.raises(UserError, match="prompt: is empty"):
        policies.sample(sampler, (policies.prompt(0), PARAMS, 1))
    with pytest.raises(
        UserError,
        match=r"^prompt: Prompt length plus max_tokens exceeds the model's context window: 60 \+ 14 > 64.*most 4",
    ):
        policies.sample(sampler, (policies.prompt(60), PARAMS, 1))
    with pytest.raises(UserError, match="at most 0"):
        policies.sample(sampler, (policies.prompt(70), PARAMS, 1))
    room = SamplingParams(max_tokens=4, temperature=1.0)
    assert len(policies.sample(sampler, (policies.prompt(60), room, 2))[0]) == 2


def test_an_engine_that_breaks_tells_every_caller_and_goes_on(model_folder, monkeypatch):
    _, sampler = policies.pair(model_folder("qwen3"))
    start = policies.prompt(11)
    whole, parts = sampler.model.forward, []

    def breaks(*args):
        parts.append(None)
        if len(parts) == 3:
            raise RuntimeError("engine is broken")
        return whole(*args)

    async def both():
        return await asyncio.gather(
            *(sampler.sample(start, policies.with_seed(PARAMS, s), 2) for s in range(2)), return_exceptions=True
        )

    monkeypatch.setattr(sampler.model, "forward", breaks)
    assert [str(e) for e in asyncio.run(both())] == ["engine is broken"] * 2
    monkeypatch.undo()
    assert len(policies.sample(sampler, (start, PARAMS, 3))[0]) == 3
