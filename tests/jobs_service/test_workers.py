"""Real worker processes: whole jobs, kill -9 of workers and schedulers, stopping, hanging, locked databases."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs_service.workplace import WAIT_S, Workplace
from sqlalchemy import update

from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.lease import LOST
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.store import FILE_NAME, file_url

pytestmark = pytest.mark.thorough
LONG = {"epochs": 10}
"""Thirty steps of four rows."""


@pytest.fixture
def database() -> Callable[[Path], str]:
    """Not on either kind: workers on PostgreSQL have tests of their own."""
    return file_url


def endless(place: Workplace) -> Job:
    """One of six thousand steps: minutes, so that it is not over before it is stopped."""
    place.upload("ann", "sft", (place.tiny / "data" / "sft.jsonl").read_bytes() * 200)
    return place.create("sft", **LONG)


def until_step(place: Workplace, job: Job, least: int) -> None:
    """Return while a worker is at work that has done so many steps, or when the job has ended."""
    place.look_until(lambda: (place.step(job) >= least and place.pid(job) is not None) or place.state(job) in ENDED)


@pytest.mark.parametrize(
    ("kind", "operation"),
    [("rft", 182), pytest.param("sft", 138, marks=pytest.mark.slow), pytest.param("dpo", 201, marks=pytest.mark.slow)],
)
def test_a_killed_job_ends_with_the_bytes_of_an_undisturbed_one(
    place: Workplace, tmp_path: Path, kind: str, operation: int
) -> None:
    """And so does all that the scheduler knew. Of some 500 writes: one between the first checkpoint and the last."""
    job = place.create(kind, **LONG)
    place.start_to_die(job, operation)
    place.restart()
    ended = place.until_state(job, "succeeded", "failed")
    assert (ended.state, ended.starts) == ("succeeded", 2), place.said()
    assert place.fingerprint(job) == place.calm(job, tmp_path / kind)
    assert [m["step"] for m in place.jobs.metrics("ann", job.id, 0)] == list(range(1, 31))
    text, end = place.jobs.logs("ann", job.id)
    assert "resumed after step" in text and place.jobs.logs("ann", job.id, end) == ("", end)


def test_cancel_pause_resume_while_running(place: Workplace) -> None:
    job = endless(place)
    until_step(place, job, 2)
    assert place.jobs.pause("ann", job.id).state == "pausing"
    place.look_until(lambda: place.state(job) == "paused")
    at = place.step(job)
    assert at >= 2
    place.jobs.resume("ann", job.id)
    place.scheduler._validate()
    until_step(place, job, at + 1)
    place.jobs.cancel("ann", job.id)
    place.look_until(lambda: place.state(job) == "cancelled")
    assert place.pid(job) is None
    done = [m["step"] for m in place.jobs.metrics("ann", job.id, 0)]
    assert done == list(range(1, len(done) + 1))
    assert len(done) - place.step(job) in (0, 1), "it may end between a step's metrics and its count"
    assert place.moves(job)[3:] == [
        "running",
        "pausing",
        "paused",
        "validating",
        "queued",
        "running",
        "cancelling",
        "cancelled",
    ]


def test_a_worker_outlives_its_server_and_is_adopted(place: Workplace) -> None:
    """A new scheduler finds it, starts no other, and can still cancel it."""
    job = endless(place)
    until_step(place, job, 1)
    pid = place.pid(job)
    children = place.workers._children
    place.restart()
    place.scheduler.look()
    assert (place.pid(job), place.jobs.get("ann", job.id).starts) == (pid, 1)
    place.jobs.cancel("ann", job.id)
    place.look_until(lambda: place.state(job) == "cancelled")
    assert children[job.id].wait(WAIT_S) in (75, -signal.SIGKILL, -signal.SIGTERM)


def test_a_frozen_worker_is_replaced_and_one_that_lost_its_job_moves_it_no_more(place: Workplace) -> None:
    """SIGSTOP: no beats, so it is killed after its lease. A newer claim behind its back: it ends by itself."""
    place.restart(lease_s=6.0)
    job = place.create("sft", **LONG)
    until_step(place, job, 1)
    first = place.pid(job)
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    place.look_until(lambda: place.jobs.get("ann", job.id).starts == 2)
    assert "killed" in next(e.text for e in place.jobs.events("ann", job.id) if e.to_state == "queued" and e.text)
    until_step(place, job, 2)
    child = place.workers._children[job.id]
    with place.store.begin() as db:
        db.execute(update(JobRow).values(fence=JobRow.fence + 1))
    assert child.wait(30) == LOST, place.said()
    assert place.state(job) == "running", "its last beat may come after its last step, but it may not end the job"
    assert place.until_state(job, "succeeded", "failed").state == "succeeded", place.said()
    assert [m["step"] for m in place.jobs.metrics("ann", job.id, 0)] == list(range(1, 31))


def test_a_server_that_stops_lets_the_step_finish(place: Workplace) -> None:
    job = endless(place)
    until_step(place, job, 2)
    place.scheduler.drain()
    found = place.jobs.get("ann", job.id)
    assert (found.state, found.reason) == ("queued", "the server was stopped; it goes on after its last checkpoint")
    assert place.pid(job) is None and not list(place.run(job).path.rglob(".tmp-*"))
    assert place.run(job).state().state == "PAUSED"


@pytest.mark.slow
def test_a_locked_database_costs_time_and_nothing_else(place: Workplace) -> None:
    """Another program holds it for longer than the lease, while a worker runs."""
    place.restart(lease_s=4.0)
    job = place.create("sft", **LONG)
    until_step(place, job, 1)
    with sqlite3.connect(place.data_dir / FILE_NAME, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(7)
        other.execute("COMMIT")
    other.close()
    assert place.until_state(job, "succeeded", "failed").state == "succeeded", place.said()
    assert place.jobs.get("ann", job.id).starts == 1


def test_what_only_the_model_can_tell_fails_the_job_in_words(place: Workplace) -> None:
    """A row that is longer than the context, which is 64 tokens of one character."""
    answer = '{"role": "assistant", "content": "a"}'
    place.upload(
        "ann", "sft", f'{{"messages": [{{"role": "user", "content": "{"a" * 70}"}}, {answer}]}}\n'.encode() * 3
    )
    ended = place.until_state(place.create("sft"), "failed", "succeeded")
    assert ended.state == "failed" and "Dataset validation failed: too long on line 1" in ended.reason, place.said()
    assert str(place.data_dir) not in ended.reason


@pytest.mark.parametrize("hours", [("-2h",), pytest.param(("-2h", "+2h"), marks=pytest.mark.slow)])
def test_a_worker_whose_clock_is_wrong(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: tuple[str, ...]
) -> None:
    """Killed once, so that a worker with the right clock takes over: nothing twice, no time before an earlier one."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("faketime is not installed")
    for shift in hours:
        with monkeypatch.context() as changed:
            for name, value in {"LD_PRELOAD": str(library), "FAKETIME": shift, "FAKETIME_DONT_RESET": "1"}.items():
                changed.setenv(name, value)
            job = place.create("sft", **LONG)
            until_step(place, job, 2)
        assert place.kill(job)
        ended = place.until_state(job, "succeeded", "failed")
        assert (ended.state, ended.starts) == ("succeeded", 2), place.said()
        assert place.fingerprint(job) == place.calm(job, tmp_path / f"calm{shift}")
        assert [m["step"] for m in place.jobs.metrics("ann", job.id, 0)] == list(range(1, 31))
        times = [event.at for event in place.jobs.events("ann", job.id, limit=1000)]
        assert times == sorted(times)
