"""An evaluator as the database keeps it and as its owner sees it, and what it may be called."""

from collections.abc import Mapping
from dataclasses import dataclass
from re import compile as pattern
from typing import Any, Literal

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import NotFound, UserError
from tunesmith.services.store import Base, utc_now

State = Literal["BUILDING", "ACTIVE", "BUILD_FAILED"]
_ID = pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FILE = pattern(r"[\w][\w. +-]{0,199}\.(?:py|tar\.gz|tgz|tar|zip)")


class EvaluatorRow(Base):
    """One evaluator of an owner."""

    __tablename__ = "evaluators"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(default="")
    """Folder of the newest upload; empty before the first. A job that began keeps to the folder it began with."""
    upload: Mapped[str] = mapped_column(default="")
    """Name of the uploaded file."""
    display_name: Mapped[str]
    entry_point: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(default="")
    traits: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """What may be shown of an evaluator."""

    owner: str
    id: str
    display_name: str
    entry_point: str
    """``file.py::function``; empty while nobody said."""
    state: State
    """BUILDING until the build of an upload has ended."""
    reason: str
    """Why the build failed."""
    traits: Mapping[str, Any]
    """Of an ACTIVE one: kind, mode, processor, single_turn, max_concurrent_rollouts."""
    uploaded: bool
    asked: Mapping[str, Any]
    """The request in its own wire's words."""
    created_at: str
    """UTC, RFC 3339."""
    updated_at: str


def check_id(evaluator_id: str) -> None:
    """
    Raises:
        UserError: not 1 to 63 of a-z, 0-9 and ``-`` that begin and end with a letter or digit.
    """
    if not _ID.fullmatch(evaluator_id):
        mend = "Use up to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
        raise UserError("evaluator", f"cannot be called {evaluator_id[:80]!r}", mend)


def check_filename(name: str) -> None:
    """
    Raises:
        UserError: not the name of a Python file or an archive.
    """
    if not _FILE.fullmatch(name):
        raise UserError("filename", f"cannot be {name[:80]!r}", "Upload a .tar.gz of the project, or one .py file")


def absent(evaluator_id: str) -> NotFound:
    return NotFound(evaluator_id, "no such evaluator", "Create it and upload its project first")


def shown(row: EvaluatorRow) -> Evaluator:
    state: State = row.state  # type: ignore[assignment]  # nothing else is written
    return Evaluator(
        row.owner,
        row.id,
        row.display_name,
        row.entry_point,
        state,
        row.reason,
        row.traits,
        bool(row.key),
        row.asked,
        row.created_at,
        row.updated_at,
    )
