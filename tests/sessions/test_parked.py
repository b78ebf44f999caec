"""What lost clients left is kept for a week, then given up; clients of an earlier server are still awaited."""

import numpy as np
import pytest
from sessions.conftest import ON_SQLITE, datum, serving

from tunesmith.core.errors import NotFound
from tunesmith.core.types import AdamParams, SamplingParams
from tunesmith.services.sessions import clients, parked
from tunesmith.services.sessions.results import Sampled


async def leave(api):
    """A model and a snapshot of a client that falls silent."""
    model = await api.create()
    row = api.sessions.models.find(api.owner, model)
    await api.result(api.sessions.samplers.publish(api.owner, row, 1, 0, inflight=False))
    return api.session_id, model


def folders(tmp_path):
    training = tmp_path / "training"
    return [len(list((training / name).iterdir())) for name in ("parked", "snapshots")]


@ON_SQLITE
def test_a_lost_client_is_back(store, tmp_path, monkeypatch):
    async def work(api):
        session_id, model = await leave(api)
        monkeypatch.setattr(clients, "SILENCE_SECONDS", -1.0)
        assert api.sessions.clients.silent() == [session_id]
        api.sessions.models.park(session_id)
        api.sessions.samplers.free(session_id, for_good=False)
        monkeypatch.undo()
        prompt = np.array([5, 6], np.int32)
        sampled = api.sessions.samplers.sample(
            api.owner, f"{session_id}:sample:0", 0, prompt, SamplingParams(max_tokens=2), 1
        )
        assert isinstance(await api.result(sampled), Sampled)
        models = api.sessions.models
        models.forward_backward(api.owner, model, 2, [datum(5, 6, 7)], "cross_entropy", {})
        stepped = await api.result(models.optim_step(api.owner, model, 3, AdamParams(1e-3)))
        assert api.sessions.clients.connected == 1
        return stepped.metrics["optim/grad_norm"]

    assert serving(store, tmp_path, work) > 0


@ON_SQLITE
def test_after_a_week_it_is_given_up(store, tmp_path, monkeypatch):
    session_id, model = serving(store, tmp_path, leave)
    assert folders(tmp_path) == [1, 1]

    async def later(api):
        api.sessions.clients.end(api.owner, session_id, clients.LOST)
        parked.give_up(store, tmp_path / "training")
        kept = folders(tmp_path)
        monkeypatch.setattr(parked, "KEPT_SECONDS", -1.0)
        parked.give_up(store, tmp_path / "training")
        with pytest.raises(NotFound, match="no longer in memory"):
            api.sessions.models.optim_step(api.owner, model, 9, AdamParams(1e-3))
        return kept, folders(tmp_path)

    assert serving(store, tmp_path, later) == ([1, 1], [0, 0])


def test_clients_of_an_earlier_server_are_awaited(store, tmp_path):
    session_id, _ = serving(store, tmp_path, leave)

    async def later(api):
        return api.sessions.clients.connected, api.sessions.clients.heard(api.owner, session_id)

    assert serving(store, tmp_path, later) == (2, True)
