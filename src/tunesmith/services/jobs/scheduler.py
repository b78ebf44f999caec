"""Brings queued jobs to workers and cleans up after those that died. The rows are the truth; nothing here is kept.

A server that starts anew finds every job by its row: workers that live are left alone, jobs of dead ones are queued.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tunesmith.services.jobs import workers
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.lease import LOST
from tunesmith.services.jobs.moves import STOPPED, WITH_WORKER, State, locked, move
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.workers import Workers

TICK_S = 0.25
LEASE_S = 15.0
"""A worker whose beats stay away for so long, by this server's own watch, is taken for hung and killed."""
START_S = 60.0
"""The same before its first beat: starting up takes a while on a busy machine."""
TERM_S = 1.5
"""A worker that is told to stop has so long before it is killed; another would repeat its step."""
DRAIN_S = 20.0
"""The same when the server stops."""
ATTEMPTS = 10
"""Workers of one job that may die in a row without a further finished step."""
_JOBS = JobRow.__table__.c
# What an idle server asks four times a second: columns alone, in statements that are made once.
_ANY_WITH_WORKER = select(_JOBS.id).where(_JOBS.state.in_(WITH_WORKER)).limit(1)
_LONGEST_IN_STATE = select(_JOBS.id).where(_JOBS.state == bindparam("state")).order_by(_JOBS.updated_at).limit(1)
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """The last sign of life of a worker."""

    fence: int
    beats: int
    at: float


class Scheduler:
    """Started and stopped with the server. One per data directory."""

    def __init__(self, jobs: Jobs, own: Workers, max_running: int = 1, lease_s: float = LEASE_S) -> None:
        self._jobs, self._workers, self._max_running, self._lease_s = jobs, own, max_running, lease_s
        self._seen: dict[str, _Seen] = {}
        self._told: dict[str, float] = {}
        """When a worker was asked to stop, by our watch."""
        self._last_look = monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        self._jobs.sweep()
        self._tasks = [asyncio.create_task(self._repeat(what)) for what in (self.look, self._validate)]

    async def stop(self) -> None:
        """Let every worker finish its step, and queue its job for the next server."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await asyncio.to_thread(self.drain)

    async def _repeat(self, what: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(what)
            except DBAPIError as e:
                log.warning("the database does not answer, trying again: %s", e.orig)
            except Exception:
                log.exception("scheduling failed, trying again")
            try:
                await asyncio.wait_for(self._stopping.wait(), TICK_S)
            except TimeoutError:
                continue

    def look(self) -> None:
        """One round: see what became of every worker, then give free places to waiting jobs."""
        rows = self._with_workers() if self._jobs.store.rows(_ANY_WITH_WORKER) else []
        self._forgive(monotonic())
        for row in rows:
            if self._workers.lives(row.id):
                self._watch(row, monotonic())
            else:
                self._settle(row, self._workers.farewell(row.id))
        present = {row.id for row in rows}
        self._workers.reap(present)
        for job_id in set(self._seen) - present:
            self._forget(job_id)
        while self._longest("queued") and self._claim():
            pass

    def _forgive(self, now: float) -> None:
        """Start all watches anew when we ourselves were away: the machine slept, or the database was locked."""
        if now - self._last_look > self._lease_s / 3:
            for seen in self._seen.values():
                seen.at = now
        self._last_look = now

    def _watch(self, row: JobRow, now: float) -> None:
        """A worker that lives: stop it when its job is to stop, kill it when it hangs."""
        seen = self._seen.setdefault(row.id, _Seen(row.fence, row.beats, now))
        if (seen.fence, seen.beats) != (row.fence, row.beats):
            self._seen[row.id] = _Seen(row.fence, row.beats, now)
        if row.state == "running":
            patience = self._lease_s if row.beats else max(self._lease_s, START_S)
            if now - self._seen[row.id].at > patience:
                log.warning("the worker of %s gives no sign of life: it is killed", row.id)
                self._workers.signal(row.id, signal.SIGKILL)
        elif row.id not in self._told:
            self._told[row.id] = now
            self._workers.signal(row.id, signal.SIGTERM)
        elif now - self._told[row.id] > TERM_S:
            self._workers.signal(row.id, signal.SIGKILL)

    def _settle(self, row: JobRow, code: int | None, stopping: bool = False) -> None:
        """A worker has ended and left its job where it cannot stay."""
        self._forget(row.id)
        if row.state == "deleting":
            self._jobs.remove(row.id)
            return
        with self._jobs.store.begin() as db:
            now = locked(db, row.id)
            if now is None or now.fence != row.fence or now.state not in WITH_WORKER:
                return
            if now.state in STOPPED:
                move(db, now, STOPPED[now.state], now.reason)
            elif now.state == "running":
                self._queue_again(db, now, code, stopping)

    def _queue_again(self, db: Session, row: JobRow, code: int | None, stopping: bool) -> None:
        run = self._jobs.folders.run(row.id)
        step = run.state().step if (run.path / "state.json").is_file() else 0
        # Not its fault: one that we did not see die may have died with the machine, one may have lost to a newer one.
        died = not stopping and code not in (None, workers.STOPPED, LOST, -signal.SIGTERM)
        row.stalled = 0 if step > row.last_step else row.stalled + died
        row.last_step = max(step, row.last_step)
        how = "the server was stopped" if stopping else _how(code)
        if row.stalled >= ATTEMPTS:
            why = f"{ATTEMPTS} workers in a row died without finishing step {step + 1}; the last: {how}"
            move(db, row, "failed", why)
        else:
            move(db, row, "queued", f"{how}; it goes on after its last checkpoint")

    def _claim(self) -> bool:
        """Give the next job a worker; False when there is no place or nothing waits."""
        with self._jobs.store.begin() as db:
            busy = db.scalar(select(func.count()).where(JobRow.state.in_(WITH_WORKER))) or 0
            job_id = _next(db) if busy < self._max_running else None
            row = None if job_id is None else locked(db, job_id)
            if row is None or row.state != "queued" or self._is_leaving(row.id):
                return False
            row.fence, row.beats = row.fence + 1, 0
            row.turn = 1 + (db.scalar(select(func.max(JobRow.turn))) or 0)
            move(db, row, "running")
        try:
            self._workers.start(row.id, row.fence)
        except OSError:
            log.exception("no worker could be started for %s", row.id)
            self._settle(row, 1)
            return False
        return True

    def _is_leaving(self, job_id: str) -> bool:
        """Whether the last worker of a waiting job lives still; all that it had to do is done, so it is ended."""
        if self._workers.lives(job_id):
            self._workers.signal(job_id, signal.SIGKILL)
            return True
        return False

    def _validate(self) -> None:
        """Check the datasets of the job that waits longest for it."""
        if (job_id := self._longest("validating")) is not None:
            self._jobs.validate(job_id)

    def _with_workers(self) -> Sequence[JobRow]:
        with self._jobs.store.read() as db:
            return db.scalars(select(JobRow).where(JobRow.state.in_(WITH_WORKER))).all()

    def _longest(self, state: State) -> str | None:
        """The job that has been in a state for longest."""
        found = self._jobs.store.rows(_LONGEST_IN_STATE, state=state)
        return found[0].id if found else None

    def drain(self) -> None:
        """End all workers after the step in hand; their jobs are queued."""
        rows = self._with_workers()
        for row in rows:
            self._workers.signal(row.id, signal.SIGTERM)
        for job_id in self._workers.wait([row.id for row in rows], DRAIN_S):
            self._workers.signal(job_id, signal.SIGKILL)
        for job_id in self._workers.wait([row.id for row in rows], TERM_S):
            log.error("the worker of %s cannot be killed: the next server finds it", job_id)
        for row in rows:
            if not self._workers.lives(row.id):
                self._settle(row, self._workers.farewell(row.id), stopping=True)
        self._workers.close()

    def _forget(self, job_id: str) -> None:
        self._seen.pop(job_id, None)
        self._told.pop(job_id, None)


def _next(db: Session) -> str | None:
    """The queued job whose owner has waited longest for a turn, the owner's oldest first."""
    turns = select(JobRow.owner, func.max(JobRow.turn).label("turn")).group_by(JobRow.owner).subquery()
    waiting = select(JobRow.id).join(turns, turns.c.owner == JobRow.owner).where(JobRow.state == "queued")
    return db.scalar(waiting.order_by(turns.c.turn, JobRow.created_at, JobRow.id).limit(1))


def _how(code: int | None) -> str:
    """How a worker ended, in words."""
    if code is None:
        return "its worker was gone when the server looked"
    if code == workers.STOPPED or code == -signal.SIGTERM:
        return "its worker was told to stop"
    if code == LOST:
        return "its worker had lost it to a newer one, which is gone"
    if code == -signal.SIGKILL:
        return "its worker was killed (out of memory?)"
    return f"its worker ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
