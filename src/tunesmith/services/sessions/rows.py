"""The tables of the Training API: who opened what, and which checkpoints there are. Weights are files, never rows."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.services.store import Base


def now() -> float:
    """Seconds since 1970, UTC."""
    return datetime.now(UTC).timestamp()


class SessionRow(Base):
    """One client, from its first call until it says goodbye or is heard of no more."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    user_metadata: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    display_name: Mapped[str | None]
    project_id: Mapped[str | None]
    sdk_version: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float] = mapped_column(default=now)
    ended_at: Mapped[float | None]
    ending: Mapped[str | None]
    """success, errored or interrupted, in the client's words; lost when it fell silent."""


class ModelRow(Base):
    """One policy that a client trains."""

    __tablename__ = "training_models"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), index=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    base_model: Mapped[str]
    rank: Mapped[int]
    """0 when all weights are trained."""
    train_attn: Mapped[bool] = mapped_column(default=True)
    train_mlp: Mapped[bool] = mapped_column(default=True)
    train_unembed: Mapped[bool] = mapped_column(default=True)
    user_metadata: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    state: Mapped[str] = mapped_column(default="live")
    """live in an engine; parked on disk, to be taken up again; freed."""
    seen: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Sequence number -> request id, filled in when the model is parked."""
    created_at: Mapped[float] = mapped_column(default=now)
    last_request_at: Mapped[float] = mapped_column(default=now)


class SamplerRow(Base):
    """Weights that a client samples from: a base model, a checkpoint, or a snapshot with no name of its own."""

    __tablename__ = "samplers"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), index=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    base_model: Mapped[str]
    weights: Mapped[str]
    """Key of the weights in the engine; empty for the base model."""
    model_path: Mapped[str | None]
    clones: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float] = mapped_column(default=now)


class CheckpointRow(Base):
    """Saved weights under a name of their own; the files lie in ``folder`` below the data directory."""

    __tablename__ = "checkpoints"
    path: Mapped[str] = mapped_column(String(300), primary_key=True)
    """tinker://<model>/<kind>/<name>"""
    model_id: Mapped[str] = mapped_column(String(128), index=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    kind: Mapped[str]
    """weights (with optimizer), sampler_weights or external_weights."""
    name: Mapped[str]
    folder: Mapped[str]
    base_model: Mapped[str]
    rank: Mapped[int]
    train_attn: Mapped[bool]
    train_mlp: Mapped[bool]
    train_unembed: Mapped[bool]
    inflight: Mapped[bool] = mapped_column(default=False)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    public: Mapped[bool] = mapped_column(default=False)
    user_metadata: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(default=now)
    expires_at: Mapped[float | None]


class ResultRow(Base):
    """What a request came to, kept over a restart of the server for a client that had not fetched it."""

    __tablename__ = "results"
    request_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    body: Mapped[bytes] = mapped_column(LargeBinary)
