"""Processes from the nursery are what they would be from nothing; without a nursery nothing fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from tunesmith.services import nursery as module
from tunesmith.services.nursery import UNTOLD, Nursery, Program, Started

TESTS = Path(__file__).parents[1]
WAIT_S = 30.0


@pytest.fixture(scope="module")
def warm() -> Iterator[Nursery]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        # Where it is set, what is printed need not be flushed at the end.
        patch.delenv("PYTHONUNBUFFERED", raising=False)
        made = Nursery()
        assert made.ready(120)
        yield made
        made.close()


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Nursery:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.delattr(os, "pidfd_open")
    return Nursery()


@pytest.fixture(params=["warm", "cold"])
def nursery(request: pytest.FixtureRequest) -> Nursery:
    found: Nursery = request.getfixturevalue(request.param)
    return found


def run(nursery: Nursery, *arguments: str, **settings: Any) -> tuple[int, str, str]:
    """Exit code, and what it printed on stdout and stderr."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        program = Program("services.nursery_program", arguments, out=out.fileno(), err=err.fileno(), **settings)
        code = nursery.start(program).wait(WAIT_S)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def tell(nursery: Nursery, given: str = "") -> dict[str, Any]:
    with TemporaryFile() as kept:
        kept.write(b"of the lock")
        kept.seek(0)
        code, out, err = run(nursery, "tell", "a", "b c", given=given.encode(), keeps=(kept.fileno(),))
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def sleeper(nursery: Nursery) -> Started:
    return nursery.start(Program("services.nursery_program", ("sleep",)))


def test_a_process_finds_what_it_was_given(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NURSERY_TEST", "set after the nursery began")
    found = tell(nursery, "secret")
    assert (found["given"], found["arguments"], found["kept"]) == ("secret", ["tell", "a", "b c"], "of the lock")
    assert found["setting"] == "set after the nursery began"
    assert found["leader"], "a signal to the server's group must spare it"
    assert found["files"] == [0, 1, 2, found["own"]], "neither the nursery's line nor what others were given"
    assert found["threads"] == 1


def test_signals_are_handled_as_from_nothing(warm: Nursery, cold: Nursery) -> None:
    assert tell(warm)["handlers"] == tell(cold)["handlers"]


def test_more_than_a_pipe_holds_is_given(nursery: Nursery) -> None:
    began = time.monotonic()
    assert tell(nursery, "x" * 300_000)["given"] == "x" * 300_000
    assert time.monotonic() - began < WAIT_S


def test_chance_is_not_shared(warm: Nursery) -> None:
    assert tell(warm)["chance"] != tell(warm)["chance"]


@pytest.mark.parametrize(
    ("does", "code", "out", "err"),
    [
        (("code", "75"), 75, "", ""),
        (("words",), 1, "", "these words"),
        (("raise",), 1, "", "ValueError: this reason"),
        (("linger",), 0, "late", ""),
    ],
)
def test_its_end_is_told(nursery: Nursery, does: tuple[str, ...], code: int, out: str, err: str) -> None:
    ended, printed, said = run(nursery, *does)
    assert (ended, printed.strip()) == (code, out)
    assert said.strip().endswith(err)


def test_death_by_a_signal_is_told_at_once(nursery: Nursery) -> None:
    started = sleeper(nursery)
    assert started.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    assert started.wait(WAIT_S) == started.poll() == -signal.SIGKILL


def test_a_program_that_is_not_there_says_so(nursery: Nursery) -> None:
    with TemporaryFile("w+") as err:
        assert nursery.start(Program("services.no_such", err=err.fileno())).wait(WAIT_S) == 1
        err.seek(0)
        assert "services.no_such" in err.read()


def test_it_starts_faster(warm: Nursery, cold: Nursery) -> None:
    def seconds(nursery: Nursery) -> float:
        began = time.monotonic()
        given = b'{"spec": {"kind": "sft", "dataset": "nowhere.jsonl", "epochs": 99}}'
        with TemporaryFile() as out:
            program = Program("tunesmith.services.errand_main", ("plan",), given, out=out.fileno())
            assert nursery.start(program).wait(WAIT_S) == 0
            out.seek(0)
            assert b"epochs" in out.read()
        return time.monotonic() - began

    assert min(seconds(warm) for _ in range(3)) < min(seconds(cold) for _ in range(2)) / 2


def test_loading_asks_for_no_device() -> None:
    """A process that has looked at a device cannot be forked into one that uses it."""
    code = """
import torch

def refuse(*args, **kwargs):
    raise AssertionError("a nursery that has asked for devices")

for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, refuse)
from tunesmith.services import nursery_main
nursery_main.load()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Begun(Nursery):
    """Knows the process id of the nursery."""

    def pid_of_it(self) -> int:
        assert self.ready(120)
        with TemporaryFile("w+") as out:
            parent = Program("services.nursery_program", ("parent",), out=out.fileno())
            self.start(parent).wait(WAIT_S)
            out.seek(0)
            return int(out.read())


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begun]:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    made = Begun()
    yield made
    made.close()


def test_a_nursery_that_dies_takes_nobody_with_it(own: Begun) -> None:
    nursery = own.pid_of_it()
    before = sleeper(own)
    os.kill(nursery, signal.SIGKILL)
    gone(nursery)
    assert before.poll() is None
    assert run(own, "code", "3")[0] == 3, "from nothing"
    os.kill(before.pid, signal.SIGKILL)
    assert before.wait(WAIT_S) == UNTOLD
    assert own.ready(120), "another has begun"
    assert run(own, "code", "4")[0] == 4


def test_who_closes_it_ends_it_alone(own: Begun) -> None:
    nursery, started = own.pid_of_it(), sleeper(own)
    own.close()
    gone(nursery)
    assert started.poll() is None
    os.kill(started.pid, signal.SIGKILL)
    started.wait(WAIT_S)


def test_one_that_cannot_begin_is_told_and_missed_by_nobody(
    own: Begun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Nursery, "_begin", lambda _: module.begin("services.no_such_nursery"))
    assert not own.ready(WAIT_S)
    assert "ended" in caplog.text
    assert run(own, "code", "5")[0] == 5


def test_one_that_dies_while_it_forks_starts_nothing_twice(
    own: Begun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Nursery, "_begin", lambda _: module.begin("services.nursery_that_dies"))
    assert own.ready(120)
    assert run(own, "note", str(tmp_path / "notes"))[0] == 0
    time.sleep(0.5)
    assert (tmp_path / "notes").read_text() == "started\n"


def gone(pid: int) -> None:
    until(lambda: not Path(f"/proc/{pid}").exists())


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
