"""The tables of managed jobs. What a step yields is in the job's run folder, never here."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.services.store import Base


class JobRow(Base):
    """One job. ``moves.move`` alone writes state, reason and the times."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "kind", "name"),
        UniqueConstraint("owner", "request_key"),
        Index("ix_jobs_page", "owner", "created_at"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Ours, unique on the server; names its folder."""
    owner: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(63))
    """The client's, or the id."""
    display_name: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Fields of the spec as they were given, without datasets and folders."""
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The request in its own wire's words, to be shown again."""
    user_code: Mapped[bool]
    """Whether the evaluator may be a file."""
    dataset: Mapped[str] = mapped_column(String(63))
    evaluation_dataset: Mapped[str | None] = mapped_column(String(63))
    output_model: Mapped[str] = mapped_column(String(128))
    parent: Mapped[str | None] = mapped_column(String(64), index=True)
    """Id of the job that it is a fork of, which may be gone."""
    forked: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """Of a fork: the last step that both have, and what was changed, in the words of the request."""
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[str]
    updated_at: Mapped[str]
    started_at: Mapped[str | None]
    ended_at: Mapped[str | None]
    fence: Mapped[int] = mapped_column(default=0)
    """Counts claims. A worker whose number is not the newest may write nothing."""
    beats: Mapped[int] = mapped_column(default=0)
    """Counts signs of life of the newest worker: a lease that no clock has to agree on."""
    turn: Mapped[int] = mapped_column(default=0)
    """Number of its last claim among all claims; the account with the lowest is next."""
    stalled: Mapped[int] = mapped_column(default=0)
    """Workers in a row that died before they finished a further step."""
    last_step: Mapped[int] = mapped_column(default=0)
    """Last finished step when a worker died."""
    request_key: Mapped[str | None] = mapped_column(String(255))
    """Idempotency key that the client chose."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Checksum of the request."""
    retried: Mapped[bool]
    """Created by a request that the client had sent before."""


class JobEventRow(Base):
    """Something that happened to a job."""

    __tablename__ = "job_events"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))
    """move, note or finding."""
    level: Mapped[str] = mapped_column(String(16))
    from_state: Mapped[str] = mapped_column(String(16), default="")
    to_state: Mapped[str] = mapped_column(String(16), default="")
    text: Mapped[str]
    """Why, or what was seen."""
