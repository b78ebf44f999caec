"""One running server for the clients of a test module, and the answers of drivers, each asked for once."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from clients.environments import drive
from server.running import RunningServer
from server.warm import WarmServer

MODEL = "tunesmith/embedded"
Ask = Callable[..., Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="rewrite the tables of methods in docs/")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this test process, with a data folder of its own."""
    running = WarmServer(tmp_path_factory.mktemp("clients") / "data")
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture(scope="session")
def ask(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """``ask(client, driver)``: what a driver answers, with the embedded model; run once, however many tests ask."""
    home: Path = tmp_path_factory.mktemp("home")
    folder = shared_folder(tmp_path_factory)

    @cache
    def answer(client: str, driver: str) -> Any:
        """From the file that the process left which asked first, this one or another that runs tests beside it."""
        kept = folder / f"{client}-{driver}.json"
        with exclusive(kept.with_suffix(".lock")):
            if not kept.exists():
                kept.write_text(json.dumps(attempt(client, driver)), "utf-8")
        return json.loads(kept.read_text("utf-8"))

    def attempt(client: str, driver: str) -> dict[str, Any]:
        try:
            return {"answer": drive(client, driver, server, home, {"model": MODEL})}
        except pytest.fail.Exception as e:
            return {"failure": str(e)}

    def answer_or_fail(client: str, driver: str) -> Any:
        found = answer(client, driver)
        if "failure" in found:
            pytest.fail(found["failure"])
        return found["answer"]

    return answer_or_fail


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests that all of its processes see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "answers"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
