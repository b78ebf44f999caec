"""``python -m bench.starts``: processes from the nursery against the same from nothing; a part of bench/RESULTS.md."""

import argparse
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from bench import machine
from bench.results import FOUND, Line, cells, part, tell
from tunesmith.services.names import embedded_model
from tunesmith.services.nursery import Nursery, Program

READY_S = 120.0
MB = 1 << 20
TARGET = 0.5
REFUSED = b'{"spec": {"kind": "sft", "dataset": "nowhere.jsonl", "epochs": 99}}'
"""The shortest errand: all of it is the start, the reading and the answer."""


class Nothing(Nursery):
    """Starts as every process was started before there was a nursery."""

    def _warm(self, wait_s: float = 0.0) -> None:
        return None


def engine(nursery: Nursery) -> tuple[float, ...]:
    """Seconds until an engine has loaded the embedded model and says so, and its own memory in bytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = time.perf_counter()
        program = Program("tunesmith.services.sessions.engine_main", (str(embedded_model()),), keeps=(theirs.fileno(),))
        started = nursery.start(program)
        ours.recv(1 << 16)
        took = time.perf_counter() - began
        own = _private_bytes(started.pid)
        with suppress(ProcessLookupError):
            os.kill(started.pid, signal.SIGKILL)
        started.wait()
    return took, own


def errand(nursery: Nursery) -> tuple[float, ...]:
    """Seconds until the answer of an errand is there."""
    began = time.perf_counter()
    with TemporaryFile() as out:
        program = Program("tunesmith.services.errand_main", ("plan",), REFUSED, out.fileno())
        if nursery.start(program).wait(READY_S):
            raise SystemExit("the errand failed; its words are above")
    return (time.perf_counter() - began,)


def _private_bytes(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) * 1024 for kb in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))


def in_turns(start: Callable[[Nursery], tuple[float, ...]], sides: list[Nursery], rounds: int) -> list[list[float]]:
    """The median of each number for each side."""
    laps = [[start(side) for side in sides] for _ in range(rounds)]
    return [[median(numbers) for numbers in zip(*side, strict=True)] for side in zip(*laps, strict=True)]


def lines(rounds: int) -> list[Line]:
    nursery = Nursery()
    if not nursery.ready(READY_S):
        raise SystemExit("no nursery on this machine: it has no process handles")
    sides = [nursery, Nothing()]
    (engine_s, own), (cold_engine_s, cold_own) = in_turns(engine, sides, rounds)
    (errand_s,), (cold_errand_s,) = in_turns(errand, sides, rounds)
    nursery.close()
    return [
        _seconds("An engine process until its model is there", engine_s, cold_engine_s),
        _seconds("An errand that refuses what it is given", errand_s, cold_errand_s),
        Line(
            "Memory that an engine process shares with no other",
            f"{own / MB:.0f} MB against {cold_own / MB:.0f} MB from nothing",
            f"at most {TARGET:.0%}",
            own <= TARGET * cold_own,
            "the embedded model, before its first request",
        ),
    ]


def _seconds(what: str, took: float, cold: float) -> Line:
    found = f"{took:.2f} s against {cold:.2f} s from nothing"
    return Line(what, found, f"at most {TARGET:.0%}", took <= TARGET * cold, "medians, in turns")


ABOUT = """\
Written by `python -m bench.starts`: processes that the nursery forks against the same processes started like any
program. The first of a server's life is always of the second kind."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="measured turns")
    parser.add_argument("--no-write", action="store_true", help="print the table, write nothing")
    given = parser.parse_args()
    head = machine.describe()
    tell(part("Starts", ABOUT, head, FOUND, map(cells, lines(given.rounds))), not given.no_write)


if __name__ == "__main__":
    main()
