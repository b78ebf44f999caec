"""Stop ids of a request, the likeliest tokens of every position, requests that are given up, and bad ones."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams
from tunesmith.rollout import LocalSampler

HOT = SamplingParams(max_tokens=30, temperature=1.5, top_k=0, seed=2)


@pytest.fixture
def sampler(model_folder):
    return policies.pair(model_folder("qwen3"))[1]


def unstopped(sampler):
    """What is said when nothing ends it."""
    return policies.sample(sampler, (policies.prompt(9), replace(HOT, stop_ids=()), 40))[0]


@pytest.mark.parametrize(
    ("stop_ids", "texts", "enders"),
    [
        (None, (), {policies.STOP}),
        ((), (), set()),
        ((11, 23), (), {11, 23}),
        (None, (" 42",), {policies.STOP, 42}),
        ((), (" 42",), {42}),
        ((11,), (" 42",), {11, 42}),
    ],
)
def test_what_ends_a_completion(sampler, stop_ids, texts, enders):
    whole = unstopped(sampler)
    assert all(len(c.tokens) == 30 and c.stop == "length" for c in whole)
    assert any(policies.STOP in c.tokens[:-1] for c in whole)
    (found,) = policies.sample(sampler, (policies.prompt(9), replace(HOT, stop_ids=stop_ids, stop=texts), 40))
    endings = set()
    for cut, all_of_it in zip(found, whole, strict=True):
        places = [i for i, t in enumerate(all_of_it.tokens) if int(t) in enders]
        assert cut.tokens.tolist() == all_of_it.tokens[: places[0] + 1 if places else 30].tolist()
        assert cut.stop == ("stop" if places else "length")
        endings |= {int(cut.tokens[-1])} if places else set()
    assert endings == enders


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_the_likeliest_tokens_of_every_position(sampler, temperature):
    """They are of the softmax that logprobs come from, whatever top-k leaves, and change nothing that is drawn."""
    params = replace(HOT, temperature=temperature, top_k=3)
    start, vocab = policies.prompt(9), sampler.model.config.vocab
    few, every, plain = policies.sample(
        sampler,
        (start, replace(params, top_logprobs=5), 6),
        (start, replace(params, top_logprobs=vocab), 6),
        (start, params, 6),
    )
    assert policies.same(few, plain)
    assert policies.same(every, plain)
    for c, full, bare in zip(few, every, plain, strict=True):
        length = len(c.tokens)
        assert (bare.top_ids, bare.top_logprobs) == (None, None)
        assert (c.top_ids.shape, c.top_logprobs.shape) == ((length, 5), (length, 5))
        assert (c.top_ids.dtype, c.top_logprobs.dtype) == (np.int32, np.float32)
        assert (np.diff(c.top_logprobs) <= 0).all()
        assert c.top_logprobs.tobytes() == full.top_logprobs[:, :5].tobytes()
        assert np.exp(full.top_logprobs).sum(-1) == pytest.approx(1, abs=1e-5)
        at = (full.top_ids == full.tokens[:, None]).argmax(-1)
        assert np.take_along_axis(full.top_logprobs, at[:, None], 1)[:, 0].tobytes() == c.logprobs.tobytes()
        assert (at < 3).all()


def test_a_request_that_is_given_up_frees_its_room(sampler):
    """With room for two rows the others would wait for all twelve of its long completions."""
    narrow = LocalSampler(sampler.model, [], policies.words, max_rows=2)
    long, short = replace(HOT, max_tokens=50), replace(HOT, max_tokens=3)
    (alone,) = policies.sample(narrow, (policies.prompt(5), short, 4))
    steps = 0

    async def give_up():
        nonlocal steps
        doomed = asyncio.create_task(narrow.sample(policies.prompt(9), long, 12))
        wanted = asyncio.create_task(narrow.sample(policies.prompt(5), short, 4))
        for _ in range(6):
            await asyncio.sleep(0)
        assert not narrow.idle
        doomed.cancel()
        while not wanted.done():
            steps += 1
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await doomed
        return wanted.result()

    assert policies.same(asyncio.run(give_up()), alone)
    assert steps < 15
    assert narrow.idle


def test_giving_up_leaves_others_alone(sampler):
    """Rows of three requests, two of one prompt, lie between each other when one goes, before it begins or amid it."""
    requests = [(policies.prompt(n), replace(HOT, seed=n), 5) for n in (9, 9, 4)]
    requests[1] = (requests[0][0], replace(HOT, seed=77), 5)
    expected = [policies.sample(sampler, r)[0] for r in requests]

    async def without(which, after):
        tasks = [asyncio.create_task(sampler.sample(*r)) for r in requests]
        for _ in range(after):
            await asyncio.sleep(0)
        tasks[which].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for which in range(3):
        for after in (0, 1, 2, 7):
            found = asyncio.run(without(which, after))
            assert isinstance(found[which], asyncio.CancelledError)
            for i in {0, 1, 2} - {which}:
                assert policies.same(found[i], expected[i])


def test_prompts_that_are_asked_for_twice_are_encoded_once(sampler, monkeypatch):
    """Clients that ask for one completion at a time send a prompt as often as they want completions of it."""
    encoded, whole = [], sampler.model.forward

    def noted(tokens, positions, attend, *rest):
        encoded.append(int((positions == 0).sum()))
        return whole(tokens, positions, attend, *rest)

    once = replace(HOT, max_tokens=1)
    requests = [(policies.prompt(n), replace(once, seed=s), 1) for s in range(5) for n in (8, 12)]
    expected = [policies.sample(sampler, r)[0] for r in requests]
    monkeypatch.setattr(sampler.model, "forward", noted)
    found = policies.sample(sampler, *requests)
    assert encoded == [2]
    assert all(policies.same(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("where", "change", "n"),
    [
        ("n", {}, 0),
        ("max_tokens", {"max_tokens": 0}, 1),
        ("temperature", {"temperature": -0.5}, 1),
        ("temperature", {"temperature": float("nan")}, 1),
        ("temperature", {"temperature": float("inf")}, 1),
        ("temperature", {"temperature": 1e-40}, 1),
        ("top_p", {"top_p": 1.5}, 1),
        ("top_p", {"top_p": float("nan")}, 1),
        ("top_k", {"top_k": -1}, 1),
        ("top_logprobs", {"top_logprobs": 62}, 1),
        ("seed", {"seed": -1}, 1),
        ("seed", {"seed": 2**64}, 1),
        ("stop", {"stop": ("a", "")}, 1),
        ("stop_ids", {"stop_ids": (3, 61)}, 1),
        ("routing", {"routing": True}, 1),
    ],
)
def test_settings_that_can_not_be_met_are_refused_alone(sampler, where, change, n):
    good = (policies.prompt(9), replace(HOT, max_tokens=4), 2)

    async def both():
        bad = sampler.sample(policies.prompt(9), replace(HOT, **change), n)
        return await asyncio.gather(sampler.sample(*good), bad, return_exceptions=True)

    fine, refused = asyncio.run(both())
    assert isinstance(refused, UserError)
    assert refused.where == where
    assert policies.same(fine, policies.sample(sampler, good)[0])


@pytest.mark.parametrize("token", [-1, 61, 2**31 - 1])
def test_ids_that_the_model_does_not_have_are_refused(sampler, token):
    start = policies.prompt(9)
    start[4] = token
    with pytest.raises(UserError, match=f"prompt: {token} is no id of this model. Give ids from 0 to 60"):
        policies.sample(sampler, (start, HOT, 1))


def test_a_batch_that_breaks_takes_only_its_own_requests(model_folder, monkeypatch):
    """Two versions run side by side; the adapter of one is broken."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    good = (policies.prompt(9), HOT, 3)
    (expected,) = policies.sample(sampler, good)
    broken = trainer.save_weights_for_sampler("broken")
    next(iter(broken.payload.pairs.values())).a.resize_(0)

    async def both():
        running = asyncio.create_task(sampler.sample(*good))
        await asyncio.sleep(0)
        await sampler.load(broken)
        return await asyncio.gather(running, *(sampler.sample(*good) for _ in range(2)), return_exceptions=True)

    fine, *failed = asyncio.run(both())
    assert policies.same(fine, expected)
    assert [type(e) for e in failed] == [RuntimeError] * 2
    assert sampler.idle
