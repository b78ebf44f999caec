"""The gateway's records in the words of eval-protocol 0.3.33: statuses, logs, and traces with their tokens packed."""

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import zstandard

from tunesmith.core.errors import UserError
from tunesmith.services.gateway.book import HOURS, ROLLOUT, Book, Log, Trace

MOST_FOUND = 1000
MOST_TAGS = 64
MOST_TAG = 256
"""Characters of a tag."""
_LOGPROBS_HEADER = struct.Struct("<4sBBHIIQ")
_LOGPROBS_ENTRY = struct.Struct("<if")
DEFAULT_PROJECT = "default"
TAKEN = {"status": "ok"}
"""The answer to a line of log."""


def status(book: Book, rollout: str) -> dict[str, Any]:
    """How a rollout stands; a null status until somebody told."""
    log = book.status(rollout)
    found = None if log is None else {"code": log.code}
    return {"rollout_id": rollout, "status": found, "extras": None if log is None else log.extras}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    tags: tuple[str, ...]
    """All of them must be there; there is at least one."""
    limit: int = 100
    hours: float = HOURS
    program: str = ""
    """Of a line of log; empty for any."""
    payloads: bool = False
    """Tokens of a trace, too."""
    project: str = DEFAULT_PROJECT

    def __post_init__(self) -> None:
        if not self.tags:
            raise UserError("tags", "are missing", "Name at least one: ?tags=rollout_id:<id>")

    @property
    def rollout(self) -> str:
        return rollout_of(self.tags)


def logs(book: Book, wanted: Wanted) -> dict[str, Any]:
    """The newest lines, newest first."""
    found = [log for log in book.logs.find(wanted.tags, wanted.hours) if wanted.program in ("", log.program)]
    return {"entries": [_entry(log) for log in reversed(found[-wanted.limit :])]}


def traces(book: Book, wanted: Wanted) -> dict[str, Any]:
    """The newest calls, newest first."""
    return _told(book.traces.find(wanted.tags, wanted.hours)[-wanted.limit :], wanted)


def last_trace(book: Book, wanted: Wanted) -> dict[str, Any]:
    """The newest of the longest calls, which repeats what was said before it. With payloads each call is told, because
    each holds its own tokens."""
    found = book.traces.find(wanted.tags, wanted.hours)[-wanted.limit :]
    longest = max(found, key=lambda trace: (len(trace.messages), trace.at), default=None)
    return _told(found if wanted.payloads or longest is None else [longest], wanted)


def read_log(body: Any, size: int) -> Log:
    """A line as it was posted; what is not known is left alone.

    Raises:
        UserError: no tags to find it by, or a status without a number.
    """
    given = body if isinstance(body, Mapping) else {}
    tags = given.get("tags")
    if not isinstance(tags, list) or not 0 < len(tags) <= MOST_TAGS or not all(map(_is_tag, tags)):
        problem = f"is no list of 1 to {MOST_TAGS} texts of up to {MOST_TAG} characters"
        raise UserError("tags", problem, 'Send at least ["rollout_id:<id>"]')
    told, extras = given.get("status"), given.get("extras")
    extras = dict(extras) if isinstance(extras, Mapping) else {}
    severity = given.get("severity") or extras.get("level") or "INFO"
    program = str(given.get("program") or "eval_protocol")
    message = str(given.get("message") or "")
    return Log(tuple(dict.fromkeys(tags)), program, message, str(severity), _status(told), extras, size)


def rollout_of(tags: Sequence[str]) -> str:
    """The id of the first rollout that tags name; empty without one."""
    return next((tag.removeprefix(ROLLOUT) for tag in tags if tag.startswith(ROLLOUT)), "")


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= MOST_TAG


def _status(told: Any) -> dict[str, Any] | None:
    if told is None or (isinstance(told, Mapping) and told.get("code") is None):
        return None
    if not isinstance(told, Mapping) or not isinstance(told["code"], int) or isinstance(told["code"], bool):
        raise UserError("status", f"has no number as its code (got {told!r:.80})", 'Send {"code": 100, "message": ""}')
    details = told.get("details")
    return {
        "code": told["code"],
        "message": str(told.get("message") or ""),
        "details": details if isinstance(details, list) else [],
    }


def _told(found: Sequence[Trace], wanted: Wanted) -> dict[str, Any]:
    shown = [_trace(trace, wanted.payloads) for trace in reversed(found)]
    return {"project_id": wanted.project, "total_traces": len(shown), "traces": shown}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _entry(log: Log) -> dict[str, Any]:
    return {
        "timestamp": _time(log.at),
        "message": log.message,
        "severity": log.severity,
        "program": log.program,
        "tags": list(log.tags),
        "status": log.status,
        "extras": log.extras,
    }


def _trace(trace: Trace, payloads: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {"messages": trace.messages}
    if trace.tools:
        asked["tools"] = trace.tools
    shown = {
        "id": trace.id,
        "name": "chat.completion",
        "user_id": None,
        "session_id": None,
        "tags": list(trace.tags),
        "timestamp": _time(trace.at),
        "input": asked,
        "output": trace.reply,
        "metadata": {"model": trace.model, "finish_reason": trace.finish_reason, "weights_version": trace.version},
        "observations": [],
    }
    return shown | ({"payloads": {name: pack(trace) for name, pack in _PAYLOADS.items()}} if payloads else {})


def _prompt_ids(trace: Trace) -> dict[str, Any]:
    return _payload("pti/v1", len(trace.prompt), json.dumps(trace.prompt.tolist()).encode())


def _logprobs(trace: Trace) -> dict[str, Any]:
    """A header, then an id and its log-probability for each sampled token."""
    body = b"".join(_LOGPROBS_ENTRY.pack(int(t), float(x)) for t, x in zip(trace.tokens, trace.logprobs, strict=True))
    return _payload(
        "lp/v1", len(trace.tokens), _LOGPROBS_HEADER.pack(b"LP01", 1, 0, 0, len(trace.tokens), len(body), 0) + body
    )


_PAYLOADS: Mapping[str, Callable[[Trace], dict[str, Any]]] = {"prompt_token_ids": _prompt_ids, "logprobs": _logprobs}


def _payload(form: str, count: int, data: bytes) -> dict[str, Any]:
    packed = base64.b64encode(zstandard.ZstdCompressor().compress(data)).decode()
    return {"manifest": {"format": form, "token_count": count, "byte_length": len(data)}, "data": packed}
