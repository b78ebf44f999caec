"""One running server for the clients of a test module, and the answers of drivers, each asked for once."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from clients.environments import drive
from server.running import RunningServer

MODEL = "tunesmith/embedded"
Ask = Callable[..., Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="rewrite docs/method_matrix.md")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this test process, with a data folder of its own."""
    running = RunningServer(tmp_path_factory.mktemp("clients") / "data")
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture(scope="session")
def ask(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """``ask(client, driver)``: what a driver answers, with the embedded model; run once, however many tests ask."""
    home: Path = tmp_path_factory.mktemp("home")

    @cache
    def asked(client: str, driver: str) -> Any:
        try:
            return drive(client, driver, server, home, {"model": MODEL})
        except pytest.fail.Exception as e:  # every test that asks fails with it
            return e

    def answer(client: str, driver: str) -> Any:
        found = asked(client, driver)
        if isinstance(found, pytest.fail.Exception):
            raise found
        return found

    return answer
