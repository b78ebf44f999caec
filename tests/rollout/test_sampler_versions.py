"""New weights while requests run, several adapters on one base, and how soon an update is served."""

import asyncio
import time
from statistics import median

import pytest
from models import tiny
from rollout import policies
from train import sequences

from tunesmith.core.ports import Weights
from tunesmith.core.types import AdamParams, Norm, SamplingParams
from tunesmith.rollout import LocalSampler

PARAMS = SamplingParams(max_tokens=20, temperature=0.8, seed=4)


def train(trainer):
    trainer.forward_backward(sequences.data(), "cross_entropy", norm=Norm(30, 6))
    trainer.optim_step(AdamParams(2e-2))


def test_requests_that_run_finish_on_the_weights_they_began_with(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3"), max_rows=3)
    start = policies.prompt(9)
    (old,) = policies.sample(sampler, (start, PARAMS, 8))
    train(trainer)
    weights = trainer.save_weights_for_sampler("step-1")

    async def load_in_between():
        running = asyncio.create_task(sampler.sample(start, PARAMS, 8))
        for _ in range(6):
            await asyncio.sleep(0)
        assert not running.done()
        await sampler.load(weights)
        assert sampler.version == 1
        return await asyncio.gather(running, sampler.sample(start, PARAMS, 8))

    running, new = asyncio.run(load_in_between())
    assert policies.same(running, old)
    assert {c.version for c in running} == {0}
    assert {c.version for c in new} == {1}
    assert not policies.same(new, old)
    assert policies.same(policies.sample(sampler, (start, PARAMS, 8))[0], new)


def test_an_update_is_not_served_before_it_is_published(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start = policies.prompt(9)
    (before,) = policies.sample(sampler, (start, PARAMS, 4))
    train(trainer)
    (unpublished,) = policies.sample(sampler, (start, PARAMS, 4))
    assert policies.same(unpublished, before)
    assert (sampler.version, trainer.version) == (0, 1)
    asyncio.run(sampler.load(trainer.save_weights_for_sampler("x")))
    assert not policies.same(policies.sample(sampler, (start, PARAMS, 4))[0], before)


def test_adapters_of_other_ranks_one_after_the_other(model_folder):
    """They live beside one base, which none of them changes."""
    folder = model_folder("qwen3")
    _, sampler = policies.pair(folder)
    model, start = sampler.model, policies.prompt(9)
    adapters = [tiny.trained_adapter(model, rank, seed=rank) for rank in (2, 16, 4)]

    def serve(payload, version):
        asyncio.run(sampler.load(Weights("x", version, payload)))
        return policies.sample(sampler, (start, PARAMS, 3))[0]

    first = [serve(a.snapshot(), i) for i, a in enumerate(adapters)]
    base = serve(None, 3)
    again = [serve(a.snapshot(), i) for i, a in enumerate(adapters)]
    assert all(policies.same(a, b) for a, b in zip(first, again, strict=True))
    assert len({c[0].tokens.tobytes() for c in [*first, base]}) == 4
    plain = LocalSampler(sequences.trainer(folder).policy.model, [policies.STOP], policies.words)
    assert policies.same(policies.sample(plain, (start, PARAMS, 3))[0], base)
    assert (plain.version, sampler.version) == (0, 2)


def test_both_versions_at_once(model_folder):
    """Requests of two versions that run side by side give what each gives by itself."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start = policies.prompt(9)
    one = trainer.save_weights_for_sampler("one")
    train(trainer)
    two = trainer.save_weights_for_sampler("two")

    async def both():
        await sampler.load(one)
        first = asyncio.create_task(sampler.sample(start, PARAMS, 5))
        await asyncio.sleep(0)
        await sampler.load(two)
        return await asyncio.gather(first, sampler.sample(start, PARAMS, 5))

    together = asyncio.run(both())
    for weights, found in zip((one, two), together, strict=True):
        asyncio.run(sampler.load(weights))
        assert policies.same(policies.sample(sampler, (start, PARAMS, 5))[0], found)


def test_an_update_is_served_within_50_ms(model_folder):
    """From optim_step to the first token of the new version, on the tiny model; processor time, the median of five."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start, once = policies.prompt(9), SamplingParams(max_tokens=1)
    took = []
    for step in range(5):
        train(trainer)
        began = time.process_time()
        asyncio.run(sampler.load(trainer.save_weights_for_sampler(f"step-{step}")))
        took.append(time.process_time() - began)
        assert policies.sample(sampler, (start, once, 1))[0][0].version == step + 1
    assert median(took) < 0.05


@pytest.mark.parametrize("rank", [4, 0])
def test_compute_logprobs_of_the_version_that_serves(model_folder, rank):
    trainer, sampler = policies.pair(model_folder("qwen3"), rank)
    tokens = policies.prompt(20)
    before = asyncio.run(sampler.compute_logprobs(tokens))
    train(trainer)
    asyncio.run(sampler.load(trainer.save_weights_for_sampler("x")))
    assert asyncio.run(sampler.compute_logprobs(tokens)).tobytes() != before.tobytes()


@pytest.mark.thorough
def test_a_hundred_loads_under_requests_mix_no_two_versions(model_folder):
    """Each answer, whenever it was asked for, is to the last bit what its version gives by itself."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start, short = policies.prompt(9), SamplingParams(max_tokens=6, temperature=0.8, seed=4)
    versions = []
    for number in range(4):
        versions.append(trainer.save_weights_for_sampler(f"step-{number}"))
        train(trainer)
    alone = {}
    for weights in versions:
        asyncio.run(sampler.load(weights))
        alone[weights.version] = policies.sample(sampler, (start, short, 3))[0]

    async def all_at_once():
        running = []
        for number in range(100):
            await sampler.load(versions[number % len(versions)])
            running.append(asyncio.create_task(sampler.sample(start, short, 3)))
            for _ in range(number % 3):
                await asyncio.sleep(0)
        return await asyncio.gather(*running)

    answers = asyncio.run(all_at_once())
    for found in answers:
        [version] = {completion.version for completion in found}
        assert policies.same(found, alone[version])
    assert {found[0].version for found in answers} == set(alone)
