"""The same job again: as a command in a terminal, and as the request that this server takes.

Both name things as this server knows them, so that they work as they are.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from tunesmith.services.card import as_flags
from tunesmith.services.jobs.job import Job, Origin
from tunesmith.spec.load import KINDS


def as_command(job: Job, base_url: str) -> list[tuple[str, str]]:
    """(what it is, lines to paste)."""
    words, path, body = _fork(job.origin) if job.origin else _new(job)
    return [("In a terminal", " \\\n  ".join(words)), ("As a request", _curl(f"{base_url}/api/v1{path}", body))]


def _new(job: Job) -> tuple[list[str], str, dict[str, Any]]:
    """(lines of the command, path, body) that make the same job."""
    files = {"dataset": job.dataset} | (
        {"evaluation_dataset": job.evaluation_dataset} if job.evaluation_dataset else {}
    )
    given = {**files, **_changed(job)}
    flags = [shlex.join(as_flags(name, value)) for name, value in given.items()]
    return [f"tunesmith {job.kind} create", *flags], "/jobs", {"kind": job.kind, **files, **job.settings}


def _fork(origin: Origin) -> tuple[list[str], str, dict[str, Any]]:
    """The same of a job that shares another's past."""
    changed = {name: value for name, (_, value) in origin.changed.items()}
    sets = [f"--set {shlex.quote(f'{name}={_text(value)}')}" for name, value in changed.items()]
    words = [f"tunesmith jobs fork {origin.job}", f"--at-step {origin.step}", *sets]
    return words, f"/jobs/{origin.job}/fork", {"at_step": origin.step, **changed}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _curl(address: str, body: Mapping[str, Any]) -> str:
    sent = json.dumps(body, ensure_ascii=False)
    return (
        f'curl {address} \\\n  -H "Authorization: Bearer $TUNESMITH_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(sent)}"
    )


def _changed(job: Job) -> Mapping[str, Any]:
    fields = KINDS[job.kind].model_fields
    return {
        name: value
        for name, value in job.settings.items()
        if name in fields and value is not None and (fields[name].is_required() or value != fields[name].default)
    }
