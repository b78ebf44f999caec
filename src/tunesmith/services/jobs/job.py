"""What a client asks for, and what may be shown of a job."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from re import compile as pattern
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.services.jobs.moves import State
from tunesmith.services.jobs.rows import JobEventRow, JobRow

_BEGINNING = pattern(r"[a-z0-9-]{1,64}")
_NAME = pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be made."""

    kind: str
    """One of ``JOB_KINDS``."""
    settings: Mapping[str, Any]
    """Fields of the kind's spec, without datasets and folders. ``base_model`` is a registered name, ``warm_start_from``
    a tuned model of the same owner. An evaluation has those of rft that sample and grade, ``model`` (any name that
    clients sample by; without it the rows' own answers are graded) and ``output_dataset``, which it makes: by default
    the job's name with ``-results``."""
    dataset: str
    """Id of a READY dataset of the same owner."""
    evaluation_dataset: str | None = None
    name: str | None = None
    """Unique among the owner's jobs of the kind; default the job's id."""
    display_name: str = ""
    output_model: str | None = None
    """Name of what comes out; default the job's name."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The request in its own wire's words, to be shown again. No secrets: it is stored and shown as it is."""
    user_code: bool = False
    """Whether the evaluator may be a file. Only for callers that put the file there: a client's path is refused."""
    parent: str | None = None
    """Id of the job that it is a fork of: another of the same owner that has begun."""
    at_step: int | None = None
    """Of a fork: the kept step to share the past up to; None is the newest that leaves something to train."""

    def fingerprint(self) -> str:
        """The same for the same request."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a fork comes from."""

    job: str
    """Id of the job that it is a fork of, which may have been deleted."""
    step: int
    """Last step that both have; 0 where they share the settings alone."""
    changed: Mapping[str, list[Any]]
    """Setting -> [its value there, its value here]."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands."""

    id: str
    owner: str
    kind: str
    name: str
    display_name: str
    settings: Mapping[str, Any]
    asked: Mapping[str, Any]
    dataset: str
    evaluation_dataset: str | None
    output_model: str
    state: State
    reason: str
    """Why it is in this state, in words; empty where there is nothing to say."""
    created_at: str
    """UTC, RFC 3339, like all times here."""
    updated_at: str
    started_at: str | None
    ended_at: str | None
    """None while the job can still change by itself, and while it is paused."""
    starts: int
    """How often a worker was started for it."""
    origin: Origin | None
    """None for a job that began by itself."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job."""

    number: int
    """Rises; not from 1."""
    at: str
    """UTC, RFC 3339; never before the event that came earlier."""
    kind: str
    """move, note or finding."""
    level: str
    """info, warning or error."""
    from_state: str
    to_state: str
    text: str


def check_name(where: str, name: str) -> None:
    """
    Raises:
        UserError: not 1 to 63 of a-z, 0-9 and ``-`` that begin and end with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        mend = "Use up to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
        raise UserError(where, f"cannot be {name[:80]!r}", mend)


def check_beginning(text: str) -> None:
    """
    Raises:
        UserError: nothing that an id or a name can begin with.
    """
    if not _BEGINNING.fullmatch(text):
        raise UserError("beginning", f"no id or name begins with {text[:80]!r}", "Use up to 64 of a-z, 0-9 and -")


def shown(row: JobRow) -> Job:
    state: State = row.state  # type: ignore[assignment]  # moves write nothing else
    return Job(
        row.id,
        row.owner,
        row.kind,
        row.name,
        row.display_name,
        row.settings,
        row.asked,
        row.dataset,
        row.evaluation_dataset,
        row.output_model,
        state,
        row.reason,
        row.created_at,
        row.updated_at,
        row.started_at,
        row.ended_at,
        row.fence,
        Origin(row.parent, **row.forked) if row.parent else None,
    )


def shown_event(row: JobEventRow) -> JobEvent:
    return JobEvent(row.number, row.at, row.kind, row.level, row.from_state, row.to_state, row.text)
