"""Workers that are frozen while their jobs go to others: when they wake, nothing that they write counts."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from endurance.conftest import Report
from jobs_service.workplace import Workplace
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow

pytestmark = pytest.mark.thorough
AT_ONCE, ROUNDS = 4, 13


def row_of(place: Workplace, job: Job) -> tuple[object, ...]:
    with place.store.read() as db:
        row = db.get_one(JobRow, job.id)
        return row.state, row.reason, row.fence, row.beats, row.updated_at


def freeze_all(place: Workplace, jobs: list[Job]) -> int:
    """Freeze each job's worker, give the job to another, and wake the worker; how many of them there were."""
    place.look_until(lambda: all(place.pid(job) and place.step(job) for job in jobs))
    frozen = {job.id: place.pid(job) or 0 for job in jobs}
    for pid in frozen.values():
        os.kill(pid, signal.SIGSTOP)
    try:
        with place.store.begin() as db:
            # What a server on another machine does once a lease has run out; the one here would kill it first.
            db.execute(update(JobRow).where(JobRow.id.in_(frozen)).values(fence=JobRow.fence + 1))
    except OperationalError:
        # One was frozen while it wrote: until it goes on, nobody else can take its job.
        for pid in frozen.values():
            os.kill(pid, signal.SIGCONT)
        return 0
    claimed = {job.id: row_of(place, job) for job in jobs}
    events = {job.id: len(place.jobs.events(job.owner, job.id, limit=1000)) for job in jobs}
    for pid in frozen.values():
        os.kill(pid, signal.SIGCONT)
    # Not a look of the scheduler: what is there now is what the workers leave.
    assert place.until_gone(jobs) < 60, "it worked on for long"
    for job in jobs:
        assert row_of(place, job) == claimed[job.id], "a frozen worker wrote to its job"
        assert len(place.jobs.events(job.owner, job.id, limit=1000)) == events[job.id]
    return len(frozen)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_worker_that_wakes_too_late_writes_nothing(
    places: Callable[[str], Workplace], tmp_path: Path, report: Report
) -> None:
    place = places("data")
    place.max_running = AT_ONCE
    place.restart()
    place.upload("ann", "sft", (place.tiny / "data" / "sft.jsonl").read_bytes() * 20)
    jobs = [place.create("sft", epochs=10, seed=seed) for seed in range(AT_ONCE)]
    zombies = 0
    while zombies < ROUNDS * AT_ONCE and (left := [job for job in jobs if place.state(job) not in ENDED]):
        zombies += freeze_all(place, left)
    for job in jobs:
        said = (place.run(job).path.parent / "worker.log").read_text()
        assert "lost to a newer worker" in said, "none of them even tried"
    first, *others = jobs
    for job in others:
        place.jobs.cancel("ann", job.id)
    place.look_until(lambda: place.state(first) in ENDED, 300)
    assert place.state(first) == "succeeded", place.said()
    assert place.fingerprint(first) == place.calm(first, tmp_path / "calm")
    assert zombies >= ROUNDS * AT_ONCE, "the jobs ended too soon"
    report(f"{zombies} frozen workers woke after their jobs were another's: no write of theirs counted")
