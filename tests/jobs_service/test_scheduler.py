"""What the scheduler decides: whose turn it is, what becomes of dead workers, whom it tells to stop. No processes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs_service.workplace import Workplace
from sqlalchemy import update

from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.lease import LOST
from tunesmith.services.jobs.moves import move
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.scheduler import ATTEMPTS, Scheduler
from tunesmith.services.jobs.workers import STOPPED, Workers
from tunesmith.services.nursery import Nursery


class PaperWorkers(Workers):
    """Workers that exist on paper: they live until the test says how they ended."""

    def __init__(self, place: Workplace) -> None:
        super().__init__(place.jobs.folders, place.data_dir, place.url, Nursery())
        self.living: dict[str, int] = {}
        """Job id -> fence."""
        self.codes: dict[str, int] = {}
        self.sent: list[tuple[str, signal.Signals]] = []
        self.started: list[str] = []

    def start(self, job_id: str, fence: int) -> None:
        assert job_id not in self.living, "two workers of one job"
        self.living[job_id] = fence
        self.started.append(job_id)

    def lives(self, job_id: str) -> bool:
        return job_id in self.living

    def farewell(self, job_id: str) -> int | None:
        return self.codes.pop(job_id, None)

    def signal(self, job_id: str, number: signal.Signals) -> None:
        self.sent.append((job_id, number))

    def end(self, job: Job, code: int | None) -> None:
        """None for one that this server did not start."""
        del self.living[job.id]
        if code is not None:
            self.codes[job.id] = code


@pytest.fixture
def workers(place: Workplace) -> Iterator[PaperWorkers]:
    made = PaperWorkers(place)
    yield made
    made.living.clear()


def finish(place: Workplace, workers: PaperWorkers, job_id: str) -> None:
    """A worker does its work and ends."""
    with place.store.begin() as db:
        move(db, db.get_one(JobRow, job_id), "succeeded")
    del workers.living[job_id]


def test_owners_take_turns_and_each_owner_s_oldest_goes_first(place: Workplace, workers: PaperWorkers) -> None:
    """Ann has four jobs before Bob has two and Cy one; two at a time."""
    jobs = [place.create("sft", owner) for owner in ("ann", "ann", "ann", "ann", "bob", "bob", "cy")]
    scheduler = Scheduler(place.jobs, workers, 2)
    while any(place.state(job) != "succeeded" for job in jobs):
        scheduler.look()
        assert len(workers.living) <= 2
        finish(place, workers, next(iter(workers.living)))
    ann, bob, cy = jobs[:4], jobs[4:6], jobs[6]
    # The first goes to whoever asked first; from then on to whoever has waited longest for a turn.
    assert workers.started == [j.id for j in (ann[0], bob[0], cy, ann[1], bob[1], ann[2], ann[3])]


def test_every_claim_has_a_newer_number(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    fences = []
    for _ in range(3):
        scheduler.look()
        fences.append(workers.living[job.id])
        workers.end(job, None)
    assert fences == [1, 2, 3]


@pytest.mark.parametrize("code", [1, 2, -signal.SIGKILL, -signal.SIGSEGV])
def test_a_job_that_kills_its_workers_fails_after_some(place: Workplace, workers: PaperWorkers, code: int) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    for attempt in range(1, ATTEMPTS + 1):
        scheduler.look()
        assert workers.living[job.id] == attempt
        workers.end(job, code)
    scheduler.look()
    failed = place.jobs.get("ann", job.id)
    assert failed.state == "failed" and not workers.living
    assert failed.reason.startswith(f"{ATTEMPTS} workers in a row died without finishing step 1; the last: its worker")


@pytest.mark.parametrize("code", [None, STOPPED, LOST, -signal.SIGTERM])
def test_ends_that_are_nobody_s_fault_do_not_count(place: Workplace, workers: PaperWorkers, code: int | None) -> None:
    """None: it was gone when the server started, as after a power cut. Lost: another had the job, and is gone."""
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    for _ in range(2 * ATTEMPTS):
        scheduler.look()
        workers.end(job, code)
    scheduler.look()
    assert place.state(job) == "running"


def test_a_further_step_starts_the_count_anew(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    place.run(job).create({}, "sft")
    for step in range(1, 2 * ATTEMPTS):
        scheduler.look()
        place.run(job).set_state("RUNNING", step=step, num_steps=99)
        workers.end(job, -9)
    scheduler.look()
    assert place.state(job) == "running"


def test_a_worker_that_hangs_is_killed_after_its_lease(place: Workplace, workers: PaperWorkers) -> None:
    """Looks at 1 s intervals by the scheduler's own watch, a lease of 10."""
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers, lease_s=10)
    scheduler.look()
    row = claimed(place, job, beats=1)
    for second in range(11):
        scheduler._watch(row, 100.0 + second)
    assert workers.sent == []
    scheduler._watch(row, 111.0)
    assert workers.sent == [(job.id, signal.SIGKILL)]


def test_a_worker_that_never_begins_has_a_minute(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers, lease_s=10)
    scheduler.look()
    row = claimed(place, job)
    assert row.beats == 0
    for at in (100.0, 130.0, 160.0):
        scheduler._watch(row, at)
    assert workers.sent == []
    scheduler._watch(row, 161.0)
    assert workers.sent == [(job.id, signal.SIGKILL)]


def test_beats_keep_the_lease(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers, lease_s=10)
    scheduler.look()
    for second in range(0, 100, 9):
        with place.store.begin() as db:
            db.execute(update(JobRow).values(beats=JobRow.beats + 1))
        scheduler._watch(claimed(place, job), 100.0 + second)
    assert workers.sent == []


def test_time_in_which_the_server_slept_is_nobody_s(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers, lease_s=10)
    scheduler.look()
    row = claimed(place, job, beats=1)
    scheduler._forgive(100.0)
    scheduler._watch(row, 100.0)
    scheduler._forgive(200.0)
    scheduler._watch(row, 200.0)
    assert workers.sent == []


@pytest.mark.parametrize(("ask", "by", "to"), [("cancel", "cancelling", "cancelled"), ("pause", "pausing", "paused")])
def test_who_is_to_stop_is_asked_once_and_then_killed(
    place: Workplace, workers: PaperWorkers, ask: str, by: str, to: str
) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    scheduler.look()
    assert getattr(place.jobs, ask)("ann", job.id).state == by
    row = claimed(place, job)
    for at in (100.0, 101.0, 102.0):
        scheduler._watch(row, at)
    assert workers.sent == [(job.id, signal.SIGTERM), (job.id, signal.SIGKILL)]
    workers.end(job, STOPPED)
    scheduler.look()
    assert place.state(job) == to


def test_a_deleted_job_is_gone_when_its_worker_is(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    place.run(job).create({}, "sft")
    scheduler.look()
    place.jobs.delete("ann", job.id)
    scheduler.look()
    assert place.state(job) == "deleting" and workers.sent == [(job.id, signal.SIGTERM)]
    workers.end(job, STOPPED)
    scheduler.look()
    assert place.jobs.page("ann") == ([], 0)
    assert not place.jobs.folders.of(job.id).exists()


def test_a_scheduler_that_starts_anew_leaves_living_workers_alone(place: Workplace, workers: PaperWorkers) -> None:
    jobs = [place.create("sft") for _ in range(3)]
    Scheduler(place.jobs, workers, 2).look()
    anew = Scheduler(place.jobs, workers, 2)
    anew.look()
    assert [place.state(job) for job in jobs] == ["running", "running", "queued"]
    assert (workers.sent, len(workers.started)) == ([], 2)


def test_a_server_that_stops_queues_its_jobs(place: Workplace, workers: PaperWorkers) -> None:
    job, scheduler = place.create("sft"), Scheduler(place.jobs, workers)
    scheduler.look()
    workers.end(job, -9)
    scheduler.drain()
    found = place.jobs.get("ann", job.id)
    assert (found.state, found.reason) == ("queued", "the server was stopped; it goes on after its last checkpoint")


def test_a_worker_that_cannot_be_started_counts(place: Workplace, tmp_path: Path) -> None:
    """A file stands where the job's folder should be."""
    job = place.create("sft")
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "jobs" / job.id).write_text("in the way")
    for _ in range(ATTEMPTS):
        place.scheduler.look()
    failed = place.jobs.get("ann", job.id)
    assert failed.state == "failed" and "code 1" in failed.reason


def claimed(place: Workplace, job: Job, beats: int | None = None) -> JobRow:
    with place.store.begin() as db:
        row = db.get_one(JobRow, job.id)
        row.beats = row.beats if beats is None else beats
        return row
