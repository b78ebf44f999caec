"""``python -m bench.endurance``: the long tests of reliability, and the figure that each reached, for bench/RESULTS.md.

A row is a promise; its tests tell the figures (``report`` in tests/endurance/conftest.py). What has no long part is
tested in full with every change, and is run here as it stands.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from bench import machine
from bench.results import part, row, tell, verdict

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Promise:
    """What has to hold, and the tests that would tell if it did not."""

    name: str
    target: str
    tests: tuple[str, ...]
    """Node ids below tests/, or their beginnings; the longest variant of each is run."""
    minutes: float
    """About how long on two idle cores."""


PROMISES = (
    Promise(
        "Jobs under kills",
        "50 kills of workers, server and both: no job lost or doubled, the bytes of an undisturbed run",
        ("endurance/test_killed_jobs.py::test_jobs_go_on_whatever_is_killed",),
        7,
    ),
    Promise(
        "Jobs under kills, PostgreSQL",
        "24 kills, every other one of the database: the same",
        ("endurance/test_killed_jobs.py::test_jobs_on_postgresql_go_on_whatever_is_killed",),
        4,
    ),
    Promise(
        "Clients under kills",
        "500 kills while 20 clients create, list, cancel and delete: every acknowledged operation explained",
        ("endurance/test_killed_under_clients.py",),
        9,
    ),
    Promise(
        "Restarts with a long past",
        "1,000 jobs, 10,000 events, 1,000 sessions: ready within 5 s",
        ("endurance/test_restarts.py",),
        2,
    ),
    Promise("Frozen workers", "50 wake too late: no write of theirs counts", ("endurance/test_frozen_workers.py",), 4),
    Promise(
        "A locked or absent database",
        "locked for 30 s: 503 with Retry-After within 6 s, no 500, recovers; the disk full, PostgreSQL restarted;"
        " readiness false within 5 s, true again, alive all along",
        ("server/test_database_away.py",),
        2,
    ),
    Promise(
        "Clients that read and write",
        "50 for 5 minutes: at least 150 requests/s, p99 below 500 ms, no 5xx, memory grows by less than 10%",
        ("endurance/test_crowds.py::test_clients_that_read_and_write",),
        6,
    ),
    Promise("Streams of events", "200 at once, each whole", ("endurance/test_crowds.py::test_many_follow",), 1),
    Promise("Training sessions", "20 at once, none fails", ("endurance/test_crowds.py::test_training_sessions",), 1),
    Promise(
        "Keys, paths, other people's things, secrets",
        "every route without a right answers nothing; no name leads out; no secret in logs, rows or files",
        ("security/test_walk.py",),
        2,
    ),
    Promise("Archives", "bombs, links, `../`, doubles and devices are refused", ("core/test_archives.py",), 0.2),
    Promise("Inner addresses", "40 forms of URL are refused", ("security/test_addresses.py",), 0.1),
    Promise(
        "Told to stop",
        "exit 0 within 30 s, streams end, jobs keep their step; a second time at once",
        ("endurance/test_drain.py", "server/test_serve.py::test_a_request_in_hand"),
        1,
    ),
    Promise(
        "Wrong clocks",
        "a worker two hours before or behind: nothing twice, times in order",
        ("jobs_service/test_workers.py::test_a_worker_whose_clock_is_wrong",),
        1,
    ),
    Promise(
        "Serving",
        "an engine killed under a stream: an error as the last piece, not ready until another is there, the next is"
        " served; 100 loads under requests, no reply of two versions",
        ("server/test_faults.py", "endurance/test_hot_loads.py"),
        3,
    ),
)
"""Generated requests to every operation stand in ``bench.soak`` itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a promise's tests."""

    promise: Promise
    figures: tuple[str, ...]
    failed: tuple[str, ...]
    passed: int
    seconds: float

    @property
    def met(self) -> bool:
        return self.passed > 0 and not self.failed


def run(promise: Promise) -> Ended:
    """Run a promise's tests, each in its longest variant."""
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        junit = Path(folder) / "told.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *(f"tests/{test.partition('::')[0]}" for test in promise.tests),
        ]
        wanted = " or ".join(dict.fromkeys(name for test in promise.tests if (name := test.partition("::")[2])))
        command += ["-m", "not gpu", "-k", wanted or "test", "-p", "endurance.longest"]
        # Only the first family has a place for what a test tells of itself.
        command += ["--junit-xml", str(junit), "-o", "junit_family=xunit1"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        cases = list(ElementTree.parse(junit).iter("testcase")) if junit.exists() else []
    if done.returncode:
        print(done.stdout[-6000:], file=sys.stderr)
    failed = [
        case.get("name", "") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(failed) - skipped
    return Ended(promise, tuple(_figures(cases)), tuple(failed), passed, time.monotonic() - began)


def _figures(cases: Iterable[ElementTree.Element]) -> Iterator[str]:
    for case in cases:
        yield from (str(told.get("value")) for told in case.iter("property") if told.get("name") == "figure")


ABOUT = "Written by `python -m bench.endurance`: the long tests of what is promised, with the figure that each reached."
COLUMNS = ("promise", "reached", "target", "", "took")


def told(one: Ended) -> tuple[str, ...]:
    """The row of a promise."""
    reached = "; ".join(one.figures) or f"{one.passed} tests pass"
    reached += f"; failed: {', '.join(one.failed)}" if one.failed else ""
    return (one.promise.name, reached, one.promise.target, verdict(one.met), f"{one.seconds:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument("--only", default="", help="promises whose name has this in it")
    parser.add_argument("--no-write", action="store_true", help="print the table, write nothing")
    given = parser.parse_args()
    head, ends = machine.describe(), list[Ended]()
    for promise in PROMISES:
        if given.only.lower() in promise.name.lower():
            ends.append(run(promise))
            print(row(told(ends[-1])), file=sys.stderr, flush=True)
    tell(part("Reliability", ABOUT, head, COLUMNS, map(told, ends)), not given.no_write)
    return 0 if all(one.met for one in ends) else 1


if __name__ == "__main__":
    sys.exit(main())
