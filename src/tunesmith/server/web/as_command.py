"""The same job from a terminal: the command that runs it there, and the request that this server would take."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from tunesmith.server.web import words
from tunesmith.services.jobs.job import Job
from tunesmith.spec.load import KINDS


def as_command(job: Job, base_url: str) -> list[tuple[str, str]]:
    """(what it is, lines to paste)."""
    return [("On this machine", _command(job)), ("Ask this server", _curl(job, base_url))]


def _command(job: Job) -> str:
    given = dict(_changed(job))
    model = str(given.pop("base_model", "embedded"))
    flags = [f"--base-model {shlex.quote(model)}", f"--dataset {shlex.quote(job.dataset)}.jsonl"]
    if job.evaluation_dataset:
        flags.append(f"--evaluation-dataset {shlex.quote(job.evaluation_dataset)}.jsonl")
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            flags.append(flag if value is True else f"{flag} {shlex.quote(words.typed(one))}")
    return " \\\n  ".join([f"tunesmith {job.kind} run", *flags])


def _curl(job: Job, base_url: str) -> str:
    body: dict[str, Any] = {"kind": job.kind, "dataset": job.dataset, **job.settings}
    if job.evaluation_dataset:
        body["evaluation_dataset"] = job.evaluation_dataset
    sent = json.dumps(body, ensure_ascii=False)
    return (
        f'curl {base_url}/api/v1/jobs \\\n  -H "Authorization: Bearer $TUNESMITH_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(sent)}"
    )


def _changed(job: Job) -> Mapping[str, Any]:
    fields = KINDS[job.kind].model_fields
    return {
        name: value
        for name, value in job.settings.items()
        if name in fields and (fields[name].is_required() or value != fields[name].default)
    }
