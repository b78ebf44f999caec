"""Several jobs at once while workers, the server, both, or the database are killed: nothing lost, nothing doubled."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from databases import Postgres
from endurance.conftest import Report
from endurance.house import OWNER, House, middle_and_most
from server.running import RunningServer

from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.moves import ENDED

pytestmark = pytest.mark.slow
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("sft", {"epochs": 10}),
    ("dpo", {"epochs": 10}),
    ("rft", {"epochs": 4}),
    ("rft", {"epochs": 4, "rl_loss_method": "dapo"}),
]
"""What runs at once; when one has ended, the next of its kind begins."""


@dataclass
class Kept:
    """A job and what was done to it."""

    job: Job
    kills: int = 0
    outages: int = 0
    """Of the database while it ran: each may end its worker too."""
    floors: list[tuple[int, int]] = field(default_factory=list)
    """At each kill: how many workers had taken it up again before, and its last step."""


class Campaign:
    """Jobs that run while things are killed, in an order that a seed decides."""

    def __init__(self, house: House, kills: int) -> None:
        self.house, self.rng = house, random.Random(kills)
        for kind in ("sft", "dpo", "rft"):
            house.upload(kind, 4)
        self.running = [self._new(number) for number in range(len(KINDS))]
        self.all = list(self.running)

    def _new(self, number: int) -> Kept:
        kind, settings = KINDS[number]
        return Kept(self.house.create(kind, **settings))

    def strike(self, what: str, database: Postgres | None = None) -> bool:
        """Kill something while all jobs run; False where the worker had just ended by itself."""
        self._refill()
        victim = self.rng.choice(self.running)
        place, wanted = self.house.place, place_step(self.house, victim) + self.rng.randint(0, 3)
        self.house.until(lambda: self.house.at_work(victim.job, wanted) or place.state(victim.job) in ENDED)
        time.sleep(self.rng.uniform(0, 0.3))
        others = {k.job.id: place.pid(k.job) for k in self.running if k is not victim or what in ("server", "database")}
        floor = len(resumed(self.house, victim.job)), place.step(victim.job)
        hit = what in ("server", "database") or place.kill(victim.job)
        if hit and what not in ("server", "database"):
            victim.kills += 1
            victim.floors.append(floor)
        if what in ("server", "both"):
            self.house.restart()
            self._check_adopted(others)
        if database is not None and what == "database":
            for kept in self.running:
                kept.outages += 1
            database.stop()
            time.sleep(self.rng.uniform(0, 2))
            database.start()
        return hit

    def _refill(self) -> None:
        for number, kept in enumerate(self.running):
            if self.house.place.state(kept.job) in ENDED:
                self.running[number] = self._new(number)
                self.all.append(self.running[number])

    def _check_adopted(self, pids: dict[str, int | None]) -> None:
        """The new server has left those alone that were at work; it looked at them before it was ready, or will."""
        for kept in self.running:
            before, now = pids.get(kept.job.id), self.house.place.pid(kept.job)
            assert before is None or now in (before, None), f"{kept.job.id}: a second worker beside one that lives"

    def finish(self, calm: Path) -> int:
        """Let all jobs end, and compare each with the same job undisturbed; steps that were done in all."""
        place, expected, steps = self.house.place, dict[str, dict[str, str]](), 0
        self.house.until(lambda: all(place.state(kept.job) in ENDED for kept in self.all), 300)
        for kept in self.all:
            job = place.jobs.get(OWNER, kept.job.id)
            assert job.state == "succeeded", (job.reason, place.said())
            assert 1 <= job.starts <= 1 + kept.kills + kept.outages, "a worker was started for nothing"
            again = ["running", "queued"] * (job.starts - 1)
            assert place.moves(job) == ["created", "validating", "queued", *again, "running", "succeeded"]
            assert_went_on(self.house, kept)
            name = f"{job.kind}-{job.settings}"
            if name not in expected:
                expected[name] = place.calm(job, calm / str(len(expected)))
            assert place.fingerprint(job) == expected[name], f"{job.id} differs from an undisturbed run"
            done = [m["step"] for m in place.jobs.metrics(OWNER, job.id, 0)]
            assert done == list(range(1, len(done) + 1)) and len(done) == place.jobs.progress(OWNER, job.id).num_steps
            assert self.house.ask("GET", f"/jobs/{job.id}")["model"], "its result has its name"
            steps += len(done)
        return steps


def place_step(house: House, kept: Kept) -> int:
    return house.place.step(kept.job)


def resumed(house: House, job: Job) -> list[int]:
    """The steps after which workers took the job up again, in their order."""
    return [int(step) for step in re.findall(r"resumed after step (\d+)", house.place.jobs.logs(OWNER, job.id)[0])]


def assert_went_on(house: House, kept: Kept) -> None:
    """Whoever took the job up began where the one before had ended."""
    taken_up = resumed(house, kept.job)
    assert taken_up == sorted(taken_up)
    for before, step in kept.floors:
        assert all(later >= step for later in taken_up[before:]), (kept.floors, taken_up)


@contextmanager
def bystander(house: House) -> Iterator[list[str]]:
    """A client that uploads and lists all the while; the datasets whose creation was acknowledged, to be looked for."""
    kept, over = list[str](), threading.Event()
    row = b'{"messages": [{"role": "user", "content": "a:"}, {"role": "assistant", "content": "b"}]}\n'

    def upload() -> None:
        number = 0
        with httpx2.Client(base_url=house.server.base_url, headers={"x-api-key": house.key}, timeout=60) as client:
            while not over.wait(0.2):
                with suppress(httpx2.HTTPError):  # the server is being killed
                    answer = client.put(f"/api/v1/datasets/by-{number}", params={"kind": "sft"}, content=row * 3)
                    assert answer.status_code in (200, 503), answer.text
                    if answer.status_code == 200:
                        kept.append(f"by-{number}")
                number += 1

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        yield kept
    finally:
        over.set()
        thread.join()


def strike_often(house: House, kills: int, targets: list[str], calm: Path, database: Postgres | None = None) -> str:
    """So many kills; what they came to."""
    campaign, hits = Campaign(house, kills), 0
    with bystander(house) as acknowledged:
        while hits < kills:
            hits += campaign.strike(targets[hits % len(targets)], database)
    steps = campaign.finish(calm)
    listed = house.ask("GET", "/datasets?limit=200")
    assert listed["total"] >= len(acknowledged)
    for name in acknowledged:
        assert house.ask("GET", f"/datasets/{name}")["state"] == "READY", name
    assert "internal error" not in house.server.log()
    restarts = f"; restart to ready {middle_and_most(house.starts_s[1:])}" if house.starts_s[1:] else ""
    return (
        f"{hits} kills, {len(campaign.all)} jobs of {steps} steps, {sum(k.kills for k in campaign.all)} lost workers,"
        f" {len(acknowledged)} acknowledged uploads: all there, none doubled{restarts}"
    )


@pytest.mark.timeout(2400)
def test_jobs_go_on_whatever_is_killed(houses: Callable[..., House], tmp_path: Path, report: Report) -> None:
    house = houses("--max-running-jobs", str(len(KINDS)), server=RunningServer)
    report(strike_often(house, 50, ["worker", "server", "both"], tmp_path / "calm"))
    with house.place.store.read() as db:
        assert db.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.timeout(2400)
def test_jobs_on_postgresql_go_on_whatever_is_killed(
    houses: Callable[..., House], tmp_path: Path, report: Report, postgres: Postgres
) -> None:
    """The database too: it is stopped as when its machine fails, and started again."""
    house = houses("--max-running-jobs", str(len(KINDS)), database_url=postgres.url, server=RunningServer)
    targets = ["database", "both", "database", "worker"]
    report(strike_often(house, 24, targets, tmp_path / "calm", postgres))
