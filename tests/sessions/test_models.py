"""Policies in a real engine process: order, repeats, sharing, death, and the way back from disk."""

import asyncio
import os
import signal

import numpy as np
import pytest
from sessions.conftest import ON_SQLITE, datum, serving

from tunesmith.core.errors import Denied, NotFound, UserError
from tunesmith.core.types import AdamParams, SamplingParams
from tunesmith.services.sessions.results import Failed, Said, Sampled, Stepped, Trained
from tunesmith.services.sessions.shape import PolicyShape

DATA = [datum(5, 6, 7, 8, 9), datum(5, 6, 9, 9)]
ADAM = AdamParams(learning_rate=1e-3, weight_decay=0.0)


async def step(api, model, seq):
    """A forward_backward and an optim_step, sent before either is done; the first one's log-probabilities."""
    models = api.sessions.models
    first = models.forward_backward(api.owner, model, seq, DATA, "cross_entropy", {})
    second = models.optim_step(api.owner, model, seq + 1, ADAM)
    trained, stepped = await api.result(first), await api.result(second)
    assert isinstance(trained, Trained) and isinstance(stepped, Stepped)
    return np.concatenate(trained.logprobs)


@ON_SQLITE
def test_policies_of_any_shape_share_one_process_and_do_not_meet(store, tmp_path):
    async def work(api):
        shapes = [PolicyShape(8), PolicyShape(4, mlp=False), PolicyShape(16, attention=False, head=False)]
        models = [await api.create(i, s) for i, s in enumerate(shapes)]
        before = [await step(api, m, 1) for m in models]
        assert all(np.array_equal(before[0], b) for b in before[1:]), "a fresh adapter changes nothing"
        together = await asyncio.gather(*(step(api, m, 3) for m in models))
        assert len({x.tobytes() for x in together}) == 3
        assert len(api.sessions.status()["engines"]) == 1
        return together

    alone = []
    for number in range(2):
        together = serving(store, tmp_path / str(number), work)
        alone.append(b"".join(x.tobytes() for x in together))
    assert alone[0] == alone[1]


@ON_SQLITE
def test_a_request_that_is_sent_again_is_carried_out_once(store, tmp_path):
    async def work(api):
        model = await api.create()
        models, owner = api.sessions.models, api.owner
        ids = [models.forward_backward(owner, model, 1, DATA, "cross_entropy", {}) for _ in range(2)]
        return ids, (await api.result(models.optim_step(owner, model, 2, ADAM))).metrics["optim/grad_norm"]

    ids, norm = serving(store, tmp_path, work)
    assert ids[0] == ids[1] and norm > 0

    async def single(api):
        model = await api.create()
        models, owner = api.sessions.models, api.owner
        models.forward_backward(owner, model, 1, DATA, "cross_entropy", {})
        return (await api.result(models.optim_step(owner, model, 2, ADAM))).metrics["optim/grad_norm"]

    assert serving(store, tmp_path / "other", single) == norm


@ON_SQLITE
def test_forward_only_adds_no_gradient(store, tmp_path):
    async def work(api):
        model = await api.create()
        given = (api.owner, model)
        forward = await api.result(
            api.sessions.models.forward_backward(*given, 1, DATA, "cross_entropy", {}, forward_only=True)
        )
        assert forward.loss == pytest.approx(-sum(x.sum() for x in forward.logprobs), rel=1e-5)
        return await api.result(api.sessions.models.optim_step(*given, 2, ADAM))

    result = serving(store, tmp_path, work)
    assert isinstance(result, Failed) and result.category == "user" and "no gradient" in result.error


@ON_SQLITE
def test_what_goes_wrong_in_the_engine_is_a_result_and_the_next_request_works(store, tmp_path):
    async def work(api):
        model = await api.create()
        models = api.sessions.models
        bad = await api.result(models.forward_backward(api.owner, model, 1, DATA, "ppo", {}))
        return bad, await step(api, model, 2)

    bad, after = serving(store, tmp_path, work)
    assert isinstance(bad, Failed) and bad.category == "user" and "datum 0" in bad.error
    assert len(after)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_stopped_server_continues_where_it_was(store, tmp_path):
    """In the middle of a step: the gradient that had added up counts, and results nobody had fetched are there."""

    async def before(api):
        model = await api.create()
        await step(api, model, 1)
        await api.result(api.sessions.models.forward_backward(api.owner, model, 3, DATA[:1], "cross_entropy", {}))
        row = api.sessions.models.find(api.owner, model)
        request = api.sessions.samplers.publish(api.owner, row, 4, 0, inflight=False)
        unfetched = api.sessions.models.forward_backward(api.owner, model, 5, DATA[1:], "cross_entropy", {})
        await api.result(request)
        return api.session_id, model, unfetched

    async def after(api):
        api.session_id = session_id
        assert isinstance(await api.result(unfetched), Trained)
        again = api.sessions.models.forward_backward(api.owner, model, 5, DATA[1:], "cross_entropy", {})
        assert again == unfetched
        models = api.sessions.models
        stepped = await api.result(models.optim_step(api.owner, model, 6, ADAM))
        sample = api.sessions.samplers.sample(
            api.owner, f"{session_id}:sample:0", 0, np.array([5, 6], np.int32), SamplingParams(max_tokens=4), 2
        )
        return stepped.metrics, await step(api, model, 7), await api.result(sample)

    async def whole(api):
        model = await api.create()
        await step(api, model, 1)
        for seq in (2, 3):
            piece = DATA[seq - 2 : seq - 1]
            api.sessions.models.forward_backward(api.owner, model, seq + 1, piece, "cross_entropy", {})
        stepped = await api.result(api.sessions.models.optim_step(api.owner, model, 6, ADAM))
        return stepped.metrics, await step(api, model, 7)

    session_id, model, unfetched = serving(store, tmp_path, before)
    metrics, logprobs, sampled = serving(store, tmp_path, after)
    expected = serving(store, tmp_path / "whole", whole)
    assert metrics == expected[0]
    assert np.array_equal(logprobs, expected[1])
    assert isinstance(sampled, Sampled) and len(sampled.completions) == 2


@ON_SQLITE
def test_when_the_engine_dies_its_models_are_lost_by_name_and_checkpoints_live(store, tmp_path):
    async def work(api):
        model = await api.create()
        await step(api, model, 1)
        request = api.sessions.models.save(api.owner, model, 3, "weights", "kept")
        path = (await api.result(request)).fields["path"]
        expected = await step(api, model, 4)
        os.kill(api.sessions.status()["engines"][0]["pid"], signal.SIGKILL)
        lost = await api.result(api.sessions.models.optim_step(api.owner, model, 6, ADAM))
        assert isinstance(lost, Failed) and lost.category == "server"
        with pytest.raises(NotFound, match="no longer in memory"):
            api.sessions.models.optim_step(api.owner, model, 7, ADAM)
        start = api.sessions.vault.find(path, api.owner)
        again = await api.create(1, start=start, optimizer=True)
        return expected, await step(api, again, 1)

    expected, after = serving(store, tmp_path, work)
    assert np.array_equal(expected, after)


@ON_SQLITE
def test_goodbye_frees_memory_and_keeps_checkpoints(store, tmp_path):
    async def work(api):
        model = await api.create()
        request = api.sessions.models.save(api.owner, model, 1, "sampler_weights", "kept")
        saved = await api.result(request)
        api.sessions.end(api.owner, api.session_id, "success")
        assert api.sessions.models.live() == []
        with pytest.raises(NotFound):
            api.sessions.models.optim_step(api.owner, model, 2, ADAM)
        api.begin()
        row = api.sessions.samplers.create(api.owner, api.session_id, 0, None, saved.fields["path"])
        prompt = np.array([5, 6], np.int32)
        request = api.sessions.samplers.sample(api.owner, row.id, 0, prompt, SamplingParams(max_tokens=3), 1)
        return saved, await api.result(request)

    saved, sampled = serving(store, tmp_path, work)
    assert isinstance(saved, Said) and isinstance(sampled, Sampled)


@ON_SQLITE
def test_others_models_are_out_of_reach(store, tmp_path):
    async def work(api):
        model = await api.create()
        with pytest.raises(Denied):
            api.sessions.models.optim_step("bob", model, 1, ADAM)
        with pytest.raises(Denied):
            api.sessions.clients.check("bob", api.session_id)
        with pytest.raises(NotFound, match="tunesmith/embedded"):
            api.sessions.models.create(api.owner, api.session_id, 1, "nobody/knows", PolicyShape(8))

    serving(store, tmp_path, work)


@pytest.mark.parametrize(("given", "word"), [({"rank": 0}, "rank"), ({"rank": 513}, "rank")])
def test_shapes_that_cannot_be(given, word):
    with pytest.raises(UserError, match=word):
        PolicyShape(**given)
    with pytest.raises(UserError, match="At least one of"):
        PolicyShape(8, False, False, False)
