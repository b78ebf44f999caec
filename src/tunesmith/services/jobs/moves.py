"""From which state a job may go to which, and the one function that moves it. Every move is an event."""

from typing import Literal, get_args

from sqlalchemy.orm import Session

from tunesmith.core.errors import Conflict
from tunesmith.services.jobs.rows import JobEventRow, JobRow
from tunesmith.services.store import utc_now

State = Literal[
    "created",
    "validating",
    "queued",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "cancelled",
    "succeeded",
    "early_stopped",
    "failed",
    "deleting",
]
STATES: tuple[State, ...] = get_args(State)
MOVES: dict[str, tuple[State, ...]] = {
    "": ("created",),
    "created": ("validating",),
    "validating": ("queued", "paused", "cancelled", "failed", "deleting"),
    "queued": ("running", "paused", "cancelled", "deleting"),
    "running": ("queued", "pausing", "paused", "cancelling", "succeeded", "early_stopped", "failed", "deleting"),
    "pausing": ("paused", "cancelling", "deleting"),
    "paused": ("validating", "cancelled", "deleting"),
    "cancelling": ("cancelled", "deleting"),
    "cancelled": ("validating", "deleting"),
    "failed": ("validating", "deleting"),
    "succeeded": ("deleting",),
    "early_stopped": ("deleting",),
    "deleting": (),
}
"""A job that goes on after it stopped is validated again: its dataset may be gone."""
ENDED: tuple[State, ...] = ("cancelled", "succeeded", "early_stopped", "failed")
WITH_WORKER: tuple[State, ...] = ("running", "pausing", "cancelling", "deleting")
"""States in which a worker may live."""
STOPPED: dict[str, State] = {"pausing": "paused", "cancelling": "cancelled"}
"""Where a job comes to once its worker has ended."""


def move(db: Session, job: JobRow, to: State, why: str = "") -> None:
    """Bring a job into another state, in the caller's transaction.

    Raises:
        Conflict: it cannot go there from where it is.
    """
    if to not in MOVES[job.state]:
        allowed = ", ".join(MOVES[job.state]) or "nothing"
        raise Conflict(job.name, f"is {job.state} and cannot become {to}", f"From {job.state} it can become: {allowed}")
    event = _event(job, "move", "error" if to == "failed" else "info", why)
    event.from_state, event.to_state = job.state, to
    job.state, job.reason = to, why
    if to == "running":
        job.started_at = job.started_at or event.at
    job.ended_at = event.at if to in ENDED else None
    db.add(event)


def note(db: Session, job: JobRow, text: str, kind: str = "note", level: str = "info") -> None:
    """Record something that is no move."""
    db.add(_event(job, kind, level, text))


def locked(db: Session, job_id: str) -> JobRow | None:
    """A job's row, held against other writers until the transaction ends; None when it is gone."""
    return db.get(JobRow, job_id, with_for_update=True)


def _event(job: JobRow, kind: str, level: str, text: str) -> JobEventRow:
    # A clock that was set back would put a job's events out of order.
    job.updated_at = max(utc_now(), job.updated_at)
    return JobEventRow(job_id=job.id, at=job.updated_at, kind=kind, level=level, text=text)
