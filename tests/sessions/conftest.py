"""A Training API service without HTTP: real store, registry and engine processes in a temporary folder."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from server.warm import warm_nursery

from tunesmith.core.types import Datum
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.sessions.shape import PolicyShape
from tunesmith.services.store import open_store


@pytest.fixture
def store(tmp_path, database):
    store = open_store(database(tmp_path))
    yield store
    store.close()


ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what costs an engine and asks nothing of the database that another test doesn't."""


def datum(*tokens: int, weight: float = 1.0) -> Datum:
    """Every token after the first is trained."""
    ids = np.array(tokens, np.int32)
    return Datum(ids[:-1], ids[1:], np.full(len(ids) - 1, weight, np.float32))


class Api:
    """What a client would do, as plain calls that return results."""

    def __init__(self, sessions: Sessions, owner: str = "ann") -> None:
        self.sessions, self.owner = sessions, owner
        self.session_id = ""

    def begin(self) -> "Api":
        from tunesmith.services.sessions.clients import Introduction

        self.session_id = self.sessions.clients.begin(self.owner, Introduction())
        return self

    async def create(self, number=0, shape=None, **given):
        shape = shape or PolicyShape(8)
        request, model = self.sessions.models.create(self.owner, self.session_id, number, EMBEDDED, shape, **given)
        await self.result(request)
        return model

    async def result(self, request_id):
        future = await self.sessions.futures.wait(request_id, self.owner, 60, asyncio.Event())
        assert future.result is not None, "not finished in a minute"
        return future.result


def serving(store, folder: Path, work):
    """Run ``work(api)`` on services that start and stop around it."""

    async def run():
        sessions = Sessions(store, Registry(store), folder, warm_nursery())
        await sessions.start()
        try:
            return await work(Api(sessions).begin())
        finally:
            await sessions.stop()

    return asyncio.run(run())
