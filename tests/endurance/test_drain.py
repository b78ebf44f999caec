"""SIGTERM: streams end, jobs keep their last step, the exit code is 0; a second one does not wait."""

import os
import signal
import threading
import time
from collections.abc import Callable

import httpx2
import pytest
from endurance.conftest import Report
from endurance.house import House
from jobs_service.workplace import WAIT_S

pytestmark = pytest.mark.thorough
STOP_S, AT_ONCE_S = 30.0, 5.0


def test_a_stop_ends_streams_and_queues_jobs(houses: Callable[..., House], report: Report) -> None:
    house = houses()
    house.upload("sft", 20)
    job = house.create("sft", epochs=10)
    house.until(lambda: house.at_work(job, 2))
    begun, ended = threading.Event(), threading.Event()

    def follow() -> None:
        url = f"{house.server.base_url}/api/v1/jobs/{job.id}/events?follow=true"
        with httpx2.stream("GET", url, headers={"x-api-key": house.key}, timeout=120) as answer:
            for _ in answer.iter_lines():
                begun.set()
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(WAIT_S), "no event arrived"
    began = time.monotonic()
    assert house.server.stop() == 0
    took = time.monotonic() - began
    assert ended.wait(WAIT_S), "its stream was cut off or left open"
    thread.join()
    assert took < STOP_S
    found = house.place.jobs.get(job.owner, job.id)
    assert (found.state, house.place.pid(job)) == ("queued", None)
    step = house.place.step(job)
    house.start()
    house.until(lambda: house.at_work(job, step + 1))
    assert house.place.jobs.get(job.owner, job.id).starts == 2
    report(f"stopped in {took:.1f} s with a job and a stream; the job went on after step {step}")


def test_a_second_signal_does_not_wait(houses: Callable[..., House], report: Report) -> None:
    """For a worker that does not stop, which a first one waits for; the next server finds it."""
    house = houses()
    house.upload("sft", 20)
    job = house.create("sft", epochs=10)
    house.until(lambda: house.at_work(job, 1))
    worker = house.place.pid(job)
    assert house.server.process is not None and worker is not None
    os.kill(worker, signal.SIGSTOP)
    os.kill(house.server.process.pid, signal.SIGTERM)
    time.sleep(1)
    assert house.server.process.poll() is None, "it did not wait for the worker"
    began = time.monotonic()
    os.kill(house.server.process.pid, signal.SIGTERM)
    assert house.server.process.wait(AT_ONCE_S) == -signal.SIGTERM
    took, house.server.process = time.monotonic() - began, None
    os.kill(worker, signal.SIGCONT)
    step = house.place.step(job)
    house.start()
    house.until(lambda: house.at_work(job, step + 1))
    report(f"a second signal: gone after {took:.1f} s")
