"""The real server: kill -9 of it and of its workers, and SIGTERM, while a job runs that this process asked for."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from jobs_service.workplace import WAIT_S, Workplace
from server.warm import WarmServer
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tunesmith.services.jobs.job import Job

pytestmark = [pytest.mark.thorough, pytest.mark.slow]
"""Every commit is tested with such kills under clients, in tests/endurance/test_killed_under_clients.py."""


def until(place: Workplace, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, place.said()
        time.sleep(0.02)


def at_work(place: Workplace, job: Job, least: int) -> Callable[[], bool]:
    """Whether a worker lives and has done so many steps."""
    return lambda: place.step(job) >= least and place.pid(job) is not None


def freeze(place: Workplace, pid: int) -> None:
    """Stop a worker for good, but not while it writes: however long a server takes to start, the job is not over."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        until(place, lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        try:
            with place.store.begin_at_once() as db:
                db.execute(text("SELECT 1"))
            return
        except OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)


def test_a_job_outlives_its_server_its_worker_and_both(
    places: Callable[[str], Workplace], tiny: Path, tmp_path: Path
) -> None:
    place = places("data")
    server = WarmServer(place.data_dir, "--max-running-jobs", "1").start()
    try:
        place.upload("ann", "sft", (tiny / "data" / "sft.jsonl").read_bytes() * 10)
        job = place.create("sft", epochs=6, eval_auto_carveout=False)
        until(place, at_work(place, job, 5))
        first = place.pid(job)
        server.kill()
        done = place.step(job)
        until(place, at_work(place, job, done + 1))
        assert first is not None
        freeze(place, first)
        server.start()
        assert place.pid(job) == first and place.jobs.get("ann", job.id).starts == 1
        os.kill(first, signal.SIGKILL)
        server.kill()
        server.start()
        until(place, lambda: place.jobs.get("ann", job.id).starts == 2)
        until(place, at_work(place, job, 5))
        server.stop()
        assert place.pid(job) is None
        assert place.jobs.get("ann", job.id).reason == "the server was stopped; it goes on after its last checkpoint"
        server.start()
        until(place, lambda: place.state(job) not in ("queued", "running"))
        assert place.state(job) == "succeeded", place.said()
    finally:
        server.kill()
    assert [m["step"] for m in place.jobs.metrics("ann", job.id, 0)] == list(range(1, 181))
    assert place.moves(job)[3:] == ["running", "queued"] * 2 + ["running", "succeeded"]
    model = place.jobs.results.adapter("ann", job.output_model)
    assert (model / "adapter_config.json").is_file()
    assert place.fingerprint(job) == place.calm(job, tmp_path / "calm")
