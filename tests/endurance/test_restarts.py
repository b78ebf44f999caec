"""A server with a long past starts as fast as a new one: what a start reads does not grow with what lies there."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx2
import psutil
import pytest
from endurance.conftest import Report
from endurance.house import OWNER, House
from server.running import RunningServer
from sqlalchemy import insert

from tunesmith.services.jobs.rows import JobEventRow, JobRow
from tunesmith.services.sessions.rows import CheckpointRow, ModelRow, SessionRow
from tunesmith.services.store import Store, utc_now

pytestmark = pytest.mark.thorough
READY_S = 5.0
JOBS, EVENTS_EACH, SESSIONS = 1_000, 10, 1_000
STATES = ("succeeded", "failed", "cancelled", "paused")


def fill(store: Store, data_dir: Path) -> str:
    """Jobs with events and folders, sessions that were never ended, each with a parked policy and a checkpoint.

    Returns:
        the id of one of the sessions.
    """
    now, job = utc_now(), {"owner": OWNER, "settings": {}, "asked": {}, "user_code": False, "dataset": "sft"}
    job |= {"kind": "sft", "output_model": "m", "fingerprint": "", "retried": False, "created_at": now}
    jobs = [f"job-{n:06}" for n in range(JOBS)]
    moves = [{"job_id": i, "at": now, "kind": "move", "level": "info", "text": ""} for i in jobs] * EVENTS_EACH
    sessions = [f"ses-{n:032x}" for n in range(SESSIONS)]
    shape = {"owner": OWNER, "base_model": "tunesmith/embedded", "rank": 8}
    parts = {"train_attn": True, "train_mlp": True, "train_unembed": False}
    with store.begin() as db:
        db.execute(
            insert(JobRow),
            [{**job, "id": i, "name": i, "state": STATES[n % 4], "updated_at": now} for n, i in enumerate(jobs)],
        )
        db.execute(insert(JobEventRow), moves)
        db.execute(insert(SessionRow), [{"id": i, "owner": OWNER} for i in sessions])
        models = [{**shape, "id": f"{i}:train:0", "session_id": i, "state": "parked"} for i in sessions]
        db.execute(insert(ModelRow), models)
        folders = [f"{i}-train-0/weights/a-1" for i in sessions]
        saved = {**shape, **parts, "kind": "weights", "name": "a"}
        db.execute(
            insert(CheckpointRow),
            [
                {**saved, "path": f"tinker://{i}:train:0/weights/a", "model_id": f"{i}:train:0", "folder": folder}
                for i, folder in zip(sessions, folders, strict=True)
            ],
        )
    for folder in (*(f"jobs/{i}/run" for i in jobs), *(f"training/checkpoints/{f}" for f in folders)):
        (data_dir / folder).mkdir(parents=True)
    return sessions[0]


def processor_s(house: House) -> float:
    """What the server's start has cost: other programs on the machine change it less than its seconds."""
    assert house.server.process is not None
    spent = psutil.Process(house.server.process.pid).cpu_times()
    return spent.user + spent.system


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_restart_with_a_long_past(houses: Callable[..., House], report: Report, times: int) -> None:
    house = houses(server=RunningServer)
    fresh = processor_s(house)
    session = fill(house.place.store, house.server.data_dir)
    spent = []
    for _ in range(times):
        house.restart()
        spent.append(processor_s(house))
        ready = httpx2.get(f"{house.server.base_url}/readyz", timeout=60)
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert median(spent) < 1.3 * fresh + 1, f"{spent} s of processor time, {fresh:.1f} s when it was new"
    if times > 1:  # on a machine that does nothing else
        assert median(house.starts_s[1:]) < READY_S
    assert house.ask("GET", "/jobs", params={"limit": 1})["total"] == JOBS
    assert house.ask("POST", "/session_heartbeat", json={"session_id": session})
    assert "internal error" not in house.server.log()
    took = f"{median(house.starts_s[1:]):.1f} s, {median(spent):.1f} s of it at work"
    report(
        f"{JOBS:,} jobs, {JOBS * EVENTS_EACH:,} events and {SESSIONS:,} sessions: ready after {took}"
        f" ({fresh:.1f} s with nothing)"
    )
