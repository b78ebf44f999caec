"""A server per module, and an app in this process for what needs no socket."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.server.app import create_app
from tunesmith.server.settings import ServerSettings
from tunesmith.services.keys import Keys
from tunesmith.services.store import Store, open_store

Ask = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = WarmServer(tmp_path_factory.mktemp("server") / "data")
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture
def store(tmp_path: Path, database: Callable[[Path], str]) -> Iterator[Store]:
    opened = open_store(database(tmp_path / "data"))
    yield opened
    opened.close()


@pytest.fixture
def app(tmp_path: Path, database: Callable[[Path], str]) -> Iterator[FastAPI]:
    """An app with a small limit; services that live while the server runs are not started."""
    data_dir = tmp_path / "data"
    made = create_app(ServerSettings(data_dir, database_url=database(data_dir), max_body_bytes=1 << 20))
    yield made
    made.state.store.close()


@pytest.fixture
def key(app: FastAPI) -> str:
    keys: Keys = app.state.keys
    return keys.create("somebody")


@pytest.fixture
def ask(app: FastAPI) -> Ask:
    """``ask("GET", "/healthz")``: one request to the app; what nobody foresaw comes back as a client sees it."""

    def one(method: str, path: str, **request: Any) -> httpx2.Response:
        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://tunesmith") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    return one
