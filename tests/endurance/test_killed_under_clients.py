"""Twenty clients create, list, cancel and delete jobs while server and workers are killed: each answer stays true."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from endurance.conftest import Report
from endurance.histories import Client, crowd
from endurance.house import OWNER, SETTINGS, House, middle_and_most
from jobs_service.workplace import SHAPES
from sqlalchemy import select

from tunesmith.services.jobs.job import Job, shown
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.keys import Keys

pytestmark = pytest.mark.thorough
CLIENTS = 20


class Harassed:
    """A house with places for two jobs, one of which it always has work for, and what is killed in it."""

    def __init__(self, house: House, seed: int) -> None:
        self.house, self.rng = house, random.Random(seed)
        self.adopted = self.workers_killed = 0
        house.upload("sft", 8)
        self.long = house.create("sft", epochs=10)

    def strike(self) -> None:
        """kill -9 of the server, of a job's worker, or of both."""
        time.sleep(self.rng.uniform(0.1, 1.0))
        place, what = self.house.place, self.rng.choice(["server", "server", "server", "worker", "both"])
        if place.state(self.long) in ENDED:
            self.long = self.house.create("sft", epochs=10)
        working = self._working()
        if what != "server" and working:
            self.workers_killed += place.kill(self.rng.choice(working))
        before = {job.id: place.pid(job) for job in working}
        if what != "worker":
            self.house.restart()
        if what == "server":
            for job in working:
                now = place.pid(job)
                assert before[job.id] is None or now in (before[job.id], None), "a worker that lived was not adopted"
                self.adopted += now is not None and now == before[job.id]

    def _working(self) -> list[Job]:
        """Jobs whose workers live, whoever asked for them."""
        with self.house.place.store.read() as db:
            rows = db.scalars(select(JobRow).where(JobRow.state == "running").order_by(JobRow.id)).all()
        return [job for job in map(shown, rows) if self.house.place.pid(job)]


def clients_of(house: House) -> list[Client]:
    """Each an account of its own with a dataset."""
    keys, made = Keys(house.place.store), []
    for number in range(CLIENTS):
        owner = f"client-{number}"
        house.place.upload(owner, "sft")
        asked = {"kind": "sft", "dataset": "sft", **SETTINGS, **SHAPES["sft"]}
        made.append(Client(house.server.base_url, keys.create(owner), number, asked))
    return made


@pytest.mark.parametrize("kills", [3, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_every_answer_stays_true_whatever_is_killed(
    houses: Callable[..., House], tmp_path: Path, report: Report, kills: int
) -> None:
    places = ("--max-running-jobs", "2")
    house = houses(*places)
    harassed, clients = Harassed(house, kills), clients_of(house)

    def meanwhile() -> None:
        for _ in range(kills):
            harassed.strike()

    crowd(clients, meanwhile)
    assert [problem for client in clients for problem in client.wrong] == []
    for client in clients:
        for job in client.known:
            moves = house.place.moves(house.place.jobs.get(f"client-{client.seed}", job))
            assert moves[:3] == ["created", "validating", "queued"] and moves.count("created") == 1
    with house.place.store.read() as db:
        assert db.connection().exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert house.place.jobs.get(OWNER, harassed.long.id)
    assert "internal error" not in house.server.log()
    acknowledged, repeated = sum(c.acknowledged for c in clients), sum(c.repeated for c in clients)
    report(
        f"{kills} kills, {acknowledged:,} acknowledged operations of {CLIENTS} clients, all explained; {repeated:,}"
        f" unanswered and repeated; workers taken over {harassed.adopted} times, killed {harassed.workers_killed};"
        f" restart to ready, its imports in memory, {middle_and_most(house.starts_s[1:])}"
    )
