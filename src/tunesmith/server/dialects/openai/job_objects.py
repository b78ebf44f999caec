"""Jobs, their events and checkpoints in OpenAI's words."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.server.dialects.openai.files import results_of
from tunesmith.server.dialects.openai.fine_tuning_request import METHODS
from tunesmith.services.curves import Curves
from tunesmith.services.jobs.job import Job, JobEvent
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.tuned_models import TunedModels

STATUSES: Mapping[str, str] = {
    "created": "validating_files",
    "validating": "validating_files",
    "queued": "queued",
    "running": "running",
    "pausing": "paused",
    "paused": "paused",
    "cancelling": "cancelled",
    "cancelled": "cancelled",
    "succeeded": "succeeded",
    "early_stopped": "succeeded",
    "failed": "failed",
    "deleting": "cancelled",
}
"""State of a job -> its status here."""
ENDED = ("succeeded", "failed", "cancelled")
TYPES = {kind: method for method, kind in METHODS.items()}
LEVELS = {"info": "info", "warning": "warn", "error": "error"}
NAMES = {
    "train/loss": "train_loss",
    "eval/loss": "full_valid_loss",
    "rollout/reward_mean": "train_mean_reward",
    "eval/reward_mean": "valid_mean_reward",
}
"""Metric -> its name in checkpoints and events."""
PREFIX = "ft"
"""Before our id of a job."""


def our_id(job_id: str) -> str:
    """Of ``ftjob-...`` the id of the job."""
    return job_id.removeprefix(PREFIX)


def asked_of(job: Job) -> Mapping[str, Any]:
    """The request that made a job; nothing where it came over another wire, whose words may mean something else."""
    return job.asked if "training_file" in job.asked else {}


def id_of(job: Job) -> str:
    return PREFIX + job.id


def body(jobs: Jobs, tuned: TunedModels, curves: Curves, job: Job) -> dict[str, Any]:
    """``fine_tuning.job``."""
    status, run = STATUSES[job.state], jobs.folders.run(job.id)
    measured = status in ENDED and next(run.newest_metrics(), None) is not None
    eta_s = jobs.progress_of(job).eta_s if status == "running" else None
    method = _method(job)
    return {
        "id": id_of(job),
        "object": "fine_tuning.job",
        "created_at": seconds(job.created_at),
        "finished_at": seconds(job.ended_at or job.updated_at) if status in ENDED else None,
        "estimated_finish": None if eta_s is None else int(time.time() + eta_s),
        "model": asked_of(job).get("model") or job.settings.get("base_model"),
        "fine_tuned_model": result_of(tuned, job) if status == "succeeded" else None,
        "organization_id": job.owner,
        "status": status,
        "error": _error(job) if status == "failed" else None,
        "training_file": job.dataset,
        "validation_file": job.evaluation_dataset,
        "result_files": [results_of(job.id)] if measured else [],
        "trained_tokens": int(curves.total(run, "train/packed_tokens")) if status in ENDED else None,
        "seed": job.settings.get("seed", 0),
        "suffix": asked_of(job).get("suffix"),
        "hyperparameters": method[method["type"]]["hyperparameters"],
        "method": method,
        "metadata": asked_of(job).get("metadata") or {},
        "integrations": asked_of(job).get("integrations") or [],
    }


def result_of(tuned: TunedModels, job: Job) -> str | None:
    """The name of the model that a job made; None where it has made none, or it was removed."""
    found = tuned.get(job.owner, job.output_model)
    return found.name if found is not None and found.job_id == job.id else None


def events(jobs: Jobs, job: Job, most: int) -> list[dict[str, Any]]:
    """``fine_tuning.job.event`` of all that happened to a job and of its steps, the newest first."""
    found = jobs.events(job.owner, job.id, limit=most)
    # A job that was created is validated at once: here both have one name.
    happened = [(_stamp(event.at), _event(event)) for event in found if event.to_state != "created"]
    return [body for _, body in sorted([*_steps(jobs, job), *happened], key=lambda dated: dated[0])[::-1]]


def _event(event: JobEvent) -> dict[str, Any]:
    message = event.text
    if event.kind == "move":
        status = STATUSES.get(event.to_state, event.to_state)
        message = f"The job is {status}: {event.text}" if event.text else f"The job is {status}"
    data = {"kind": event.kind}
    return _event_body(f"ftevent-{event.number}", _stamp(event.at), LEVELS[event.level], message, "message", data)


def _steps(jobs: Jobs, job: Job) -> list[tuple[float, dict[str, Any]]]:
    """Metrics have no times; a step is dated by how long the steps up to it have taken."""
    run = jobs.run(job.owner, job.id)
    began = run.state().started_at if (run.path / "state.json").is_file() else None
    if began is None:
        return []
    took = {int(line["step"]): sum(v for k, v in line.items() if k.startswith("time/")) for line in run.timing()}
    num_steps, at = jobs.progress_of(job).num_steps, _stamp(began)
    found = []
    for line in run.metrics():
        step, metrics = int(line["step"]), named(line)
        at += took.get(step, 0.0)
        if not metrics:
            continue
        said = ", ".join(f"{name.replace('_', ' ')}={value:.4g}" for name, value in metrics.items())
        data = {"step": step, "total_steps": num_steps, **metrics}
        body = _event_body(f"ftevent-step-{step}", at, "info", f"Step {step}/{num_steps}: {said}", "metrics", data)
        found.append((at, body))
    return found


def _event_body(
    event_id: str, at: float, level: str, message: str, kind: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    what = {"id": event_id, "object": "fine_tuning.job.event", "created_at": int(at)}
    return {**what, "level": level, "message": message, "type": kind, "data": data}


def named(metrics: Metrics) -> dict[str, float]:
    """Those metrics that OpenAI's clients have a name for."""
    return {NAMES[name]: value for name, value in metrics.items() if name in NAMES}


def checkpoint_id(job: Job, step: int) -> str:
    return f"ftckpt-{job.id.removeprefix('job-')}-{step}"


def checkpoint_body(job: Job, model: str, metrics: Metrics) -> dict[str, Any]:
    """``fine_tuning.job.checkpoint`` of a step whose weights are the model of that name."""
    step = int(metrics["step"])
    return {
        "id": checkpoint_id(job, step),
        "object": "fine_tuning.job.checkpoint",
        "created_at": seconds(job.ended_at or job.updated_at),
        "fine_tuned_model_checkpoint": model,
        "fine_tuning_job_id": id_of(job),
        "step_number": step,
        "metrics": {"step": step, **named(metrics)},
    }


def seconds(at: str) -> int:
    """RFC 3339 as whole seconds since 1970."""
    return int(_stamp(at))


def _stamp(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _method(job: Job) -> dict[str, Any]:
    """As it was asked for, with ``auto`` for what was not; of another wire's job, its kind."""
    kind = TYPES[job.kind]
    given = (asked_of(job).get("method") or {}).get(kind) or {}
    asked = given.get("hyperparameters") or asked_of(job).get("hyperparameters") or {}
    hyperparameters = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto", **asked}
    return {"type": kind, kind: {**given, "hyperparameters": hyperparameters}}


def _error(job: Job) -> dict[str, Any]:
    """A job that never started was refused for its files."""
    param = None
    if job.started_at is None:
        named = job.evaluation_dataset is not None and job.reason.startswith(job.evaluation_dataset)
        param = "validation_file" if named else "training_file"
    return {"code": "training_failed" if param is None else f"invalid_{param}", "message": job.reason, "param": param}
