"""Calls of our own wire against an app in this process, and a server that trains the tiny model's jobs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from crash import tiny_jobs
from server.conftest import Ask
from server.rest.shells import Shell
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.services.registry import Registry
from tunesmith.services.store import file_url, open_store

Call = Callable[..., tuple[int, Any]]
ROWS = {
    "rft": {"messages": [{"role": "user", "content": "What is 2+2?"}], "answer": "4"},
    "sft": {"messages": [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}]},
    "dpo": {
        "input": {"messages": [{"role": "user", "content": "What is 2+2?"}]},
        "preferred_output": [{"role": "assistant", "content": "4"}],
        "non_preferred_output": [{"role": "assistant", "content": "5"}],
    },
}


@pytest.fixture
def call(ask: Ask, key: str) -> Call:
    """``call("POST", "/jobs", json=...)`` with the key: (status, body)."""

    def one(method: str, path: str, headers: dict[str, str] | None = None, **request: Any) -> tuple[int, Any]:
        answer = ask(method, f"/api/v1{path}", headers={"x-api-key": key, **(headers or {})}, **request)
        return answer.status_code, answer.json() if answer.content else None

    return one


@pytest.fixture
def upload(call: Call) -> Callable[[str], str]:
    """``upload("dpo")``: the id of a READY dataset of that kind."""

    def one(kind: str) -> str:
        status, body = call("PUT", f"/datasets/{kind}?kind={kind}", content=lines(kind))
        assert (status, body["state"]) == (200, "READY"), body
        return kind

    return one


def lines(kind: str, count: int = 4) -> bytes:
    return "".join(json.dumps(ROWS[kind]) + "\n" for _ in range(count)).encode()


@pytest.fixture(scope="session")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server that knows the tiny model as ``test/tiny``."""
    folder: Path = tmp_path_factory.mktemp("rest")
    tiny_jobs.make_model(folder / "model")
    tiny_jobs.make_data(folder / "files")
    running = WarmServer(folder / "data")
    (folder / "data").mkdir()
    store = open_store(file_url(folder / "data"))
    Registry(store).add("test/tiny", folder / "model")
    store.close()
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture(scope="session")
def client(trainer: RunningServer) -> Iterator[httpx2.Client]:
    """Speaks to the real server with its first key."""
    with httpx2.Client(base_url=f"{trainer.base_url}/api/v1", headers={"x-api-key": trainer.key}, timeout=60) as made:
        yield made


@pytest.fixture
def shell(
    trainer: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """Commands against the real server, in a folder and a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TUNESMITH_URL", trainer.base_url)
    monkeypatch.setenv("TUNESMITH_API_KEY", trainer.key)
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="session")
def files(trainer: RunningServer) -> Path:
    """Datasets of the tiny model, by kind."""
    return trainer.data_dir.parent / "files"
