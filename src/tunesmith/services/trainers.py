"""Trainer jobs: what a client of the dedicated mode asked for, on a machine that gives it at once.

A trainer job is a name for the sessions that were begun at its address, or for jobs that are its steps.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, String, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.store import Base, Store, utc_now

RUNNING, CANCELLED, DELETED = "RUNNING", "CANCELLED", "DELETED"


class TrainerRow(Base):
    """One trainer job of an owner."""

    __tablename__ = "trainer_jobs"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    base_model: Mapped[str]
    rank: Mapped[int]
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The request, to be shown again."""
    state: Mapped[str] = mapped_column(default=RUNNING)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


class TrainerSessionRow(Base):
    """A session that was begun at a trainer job's address."""

    __tablename__ = "trainer_sessions"
    __table_args__ = (ForeignKeyConstraint(["owner", "trainer"], ["trainer_jobs.owner", "trainer_jobs.id"]),)
    session_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    trainer: Mapped[str] = mapped_column(String(63))
    begun_at: Mapped[str] = mapped_column(default=utc_now)


class TrainerStepRow(Base):
    """A job that is a step of a trainer job."""

    __tablename__ = "trainer_steps"
    __table_args__ = (ForeignKeyConstraint(["owner", "trainer"], ["trainer_jobs.owner", "trainer_jobs.id"]),)
    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    trainer: Mapped[str] = mapped_column(String(63))
    output_model: Mapped[str]
    """Name of the model that it makes, which outlives the job."""
    taken_at: Mapped[str] = mapped_column(default=utc_now)


class Trainers:
    """All trainer jobs of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, owner: str, job: str, base_model: str, rank: int, asked: dict[str, Any]) -> TrainerRow:
        """
        Raises:
            Conflict: the owner has one of that id, deleted ones included: its checkpoints are there still.
        """
        row = TrainerRow(owner=owner, id=job, base_model=base_model, rank=rank, asked=asked)
        with self._store.begin() as db:
            if db.get(TrainerRow, (owner, job)) is not None:
                raise Conflict(job, "is the id of a trainer job already", "Choose another")
            db.add(row)
        return row

    def find(self, owner: str, job: str) -> TrainerRow:
        """
        Raises:
            NotFound: the owner has none of that id.
        """
        with self._store.read() as db:
            row = db.get(TrainerRow, (owner, job))
        if row is None:
            raise NotFound(job, "no such trainer job", "Create it first")
        return row

    def running(self, owner: str, job: str) -> TrainerRow:
        """
        Raises:
            UserError: it was cancelled or deleted.
        """
        row = self.find(owner, job)
        if row.state == CANCELLED:
            raise UserError(job, "this trainer job is cancelled", "Resume it: its models are where they were")
        if row.state != RUNNING:
            raise UserError(job, "this trainer job was deleted", "Create another; its checkpoints can be loaded there")
        return row

    def jobs(self, owner: str) -> Sequence[TrainerRow]:
        """Newest first."""
        newest = select(TrainerRow).where(TrainerRow.owner == owner).order_by(TrainerRow.created_at.desc())
        with self._store.read() as db:
            return db.scalars(newest).all()

    def delete(self, owner: str, job: str) -> None:
        """Close a job's address for good; its row stays, because checkpoints are found by it."""
        self.find(owner, job)
        self._move(owner, job, DELETED)

    def cancel(self, owner: str, job: str) -> TrainerRow:
        """Close a job's address until it is resumed.

        Raises:
            Conflict: it was deleted.
        """
        if self.find(owner, job).state == DELETED:
            raise Conflict(job, "cannot cancel job in state: JOB_STATE_DELETED", "Leave it: it has ended")
        return self._move(owner, job, CANCELLED)

    def resume(self, owner: str, job: str) -> TrainerRow:
        """Open the address of a job that was cancelled.

        Raises:
            UserError: it was deleted.
        """
        return self._move(owner, job, RUNNING) if self.find(owner, job).state == CANCELLED else self.running(owner, job)

    def _move(self, owner: str, job: str, state: str) -> TrainerRow:
        with self._store.begin() as db:
            row = db.get_one(TrainerRow, (owner, job))
            row.state, row.updated_at = state, utc_now()
        return row

    def adopt(self, owner: str, job: str, session_id: str) -> None:
        with self._store.begin() as db:
            db.add(TrainerSessionRow(session_id=session_id, owner=owner, trainer=job))

    def sessions(self, owner: str, job: str) -> Sequence[str]:
        """Ids of the sessions begun at a job's address, oldest first."""
        own = select(TrainerSessionRow.session_id).where(
            TrainerSessionRow.owner == owner, TrainerSessionRow.trainer == job
        )
        with self._store.read() as db:
            return db.scalars(own.order_by(TrainerSessionRow.begun_at)).all()

    def add_step(self, owner: str, job: str, step: str, output_model: str) -> None:
        """Note that a job, by its id, is a step of a trainer job; again for the same changes nothing."""
        with self._store.begin() as db:
            if db.get(TrainerStepRow, step) is None:
                db.add(TrainerStepRow(job_id=step, owner=owner, trainer=job, output_model=output_model))

    def steps(self, owner: str, job: str) -> Sequence[TrainerStepRow]:
        """A trainer job's steps, oldest first, those among them whose job was deleted."""
        own = select(TrainerStepRow).where(TrainerStepRow.owner == owner, TrainerStepRow.trainer == job)
        with self._store.read() as db:
            return db.scalars(own.order_by(TrainerStepRow.taken_at)).all()
