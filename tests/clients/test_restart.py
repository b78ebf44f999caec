"""What survives the death of a server: checkpoints, runs and the key, and training goes on to the last bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.conftest import MODEL
from clients.environments import drive, python_of
from server.running import RunningServer
from server.warm import WarmServer

CLIENT = "tinker-0.38.0"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    python_of(CLIENT)
    running = WarmServer(tmp_path / "data")
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.mark.parametrize("end", ["kill", pytest.param("stop", marks=pytest.mark.slow)])
def test_training_goes_on_to_the_last_bit(own_server: RunningServer, tmp_path: Path, end: str):
    before = drive(CLIENT, "resume", own_server, tmp_path / "home", {"model": MODEL})
    getattr(own_server, end)()
    own_server.start()
    kept = {name: before[name] for name in ("state", "sampler")}
    after = drive(CLIENT, "resume", own_server, tmp_path / "home", {"model": MODEL} | kept)
    for name in ("at_save", "next", "served"):
        assert after[name] == before[name], name
    assert after["metrics"]["optim/grad_norm"] == before["metrics"]["optim/grad_norm"]
    assert {before["run"], after["run"]} <= set(after["runs"])
    assert before["run"] != after["run"]
