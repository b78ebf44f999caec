"""Trainer jobs and deployments: what a client of the dedicated mode asked for, on a machine that gives it at once.

A trainer job is a name for the sessions that were begun at its address; a deployment, for the weights it serves now.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, String, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.store import Base, Store, utc_now

RUNNING, DELETED = "RUNNING", "DELETED"


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


class DeploymentRow(Base):
    """One deployment of an owner."""

    __tablename__ = "training_deployments"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    base_model: Mapped[str]
    trainer: Mapped[str] = mapped_column(default="")
    """Id of the trainer job whose snapshots it loads; empty where it serves the base model alone."""
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    replicas: Mapped[int] = mapped_column(default=1)
    """0: it answers nothing until it is scaled up."""
    identity: Mapped[str] = mapped_column(default="")
    """The loaded snapshot as the client named it; empty for the base model."""
    path: Mapped[str] = mapped_column(default="")
    """The same as a checkpoint's path."""
    created_at: Mapped[str] = mapped_column(default=utc_now)


class Trainers:
    """All trainer jobs and deployments of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create_tables()

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
        with self._store.begin() as db:
            row = db.get(TrainerRow, (owner, job))
        if row is None:
            raise NotFound(job, "no such trainer job", "Create it first")
        return row

    def running(self, owner: str, job: str) -> TrainerRow:
        """
        Raises:
            UserError: it was deleted.
        """
        row = self.find(owner, job)
        if row.state != RUNNING:
            raise UserError(job, "this trainer job was deleted", "Create another; its checkpoints can be loaded there")
        return row

    def jobs(self, owner: str) -> Sequence[TrainerRow]:
        """Newest first."""
        newest = select(TrainerRow).where(TrainerRow.owner == owner).order_by(TrainerRow.created_at.desc())
        with self._store.begin() as db:
            return db.scalars(newest).all()

    def delete(self, owner: str, job: str) -> None:
        """Close a job's address; its row stays, because checkpoints are found by it."""
        self.find(owner, job)
        with self._store.begin() as db:
            row = db.get_one(TrainerRow, (owner, job))
            row.state, row.updated_at = DELETED, utc_now()

    def adopt(self, owner: str, job: str, session_id: str) -> None:
        with self._store.begin() as db:
            db.add(TrainerSessionRow(session_id=session_id, owner=owner, trainer=job))

    def sessions(self, owner: str, job: str) -> Sequence[str]:
        """Ids of the sessions begun at a job's address, oldest first."""
        own = select(TrainerSessionRow.session_id).where(
            TrainerSessionRow.owner == owner, TrainerSessionRow.trainer == job
        )
        with self._store.begin() as db:
            return db.scalars(own.order_by(TrainerSessionRow.begun_at)).all()

    def deploy(self, row: DeploymentRow) -> DeploymentRow:
        """
        Raises:
            Conflict: the owner has one of that id.
        """
        with self._store.begin() as db:
            if db.get(DeploymentRow, (row.owner, row.id)) is not None:
                raise Conflict(row.id, "is the id of a deployment already", "Choose another")
            db.add(row)
        return row

    def deployments(self, owner: str) -> Sequence[DeploymentRow]:
        """Newest first."""
        newest = select(DeploymentRow).where(DeploymentRow.owner == owner).order_by(DeploymentRow.created_at.desc())
        with self._store.begin() as db:
            return db.scalars(newest).all()

    def deployment(self, owner: str, deployment: str) -> DeploymentRow:
        """
        Raises:
            NotFound: the owner has none of that id.
        """
        with self._store.begin() as db:
            row = db.get(DeploymentRow, (owner, deployment))
        if row is None:
            raise NotFound(deployment, "no such deployment", "Create it first")
        return row

    def change(self, row: DeploymentRow, **fields: Any) -> DeploymentRow:
        """Set columns of a deployment."""
        with self._store.begin() as db:
            changed = db.get_one(DeploymentRow, (row.owner, row.id))
            for name, value in fields.items():
                setattr(changed, name, value)
        return changed

    def undeploy(self, row: DeploymentRow) -> None:
        with self._store.begin() as db:
            db.delete(db.get_one(DeploymentRow, (row.owner, row.id)))
