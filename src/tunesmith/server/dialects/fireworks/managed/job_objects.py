"""Jobs as this wire shows them: the request with its defaults filled in, where the job stands, and what it measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic.alias_generators import to_camel

from tunesmith.server import files
from tunesmith.server.dialects.fireworks.managed.bodies import full_name
from tunesmith.server.dialects.fireworks.managed.job_kinds import KINDS, PUBLIC_EVALUATORS
from tunesmith.server.dialects.fireworks.managed.lists import Body, without_empty
from tunesmith.server.dialects.fireworks.managed.rft_request import SAMPLING
from tunesmith.server.dialects.fireworks.managed.training import PACKED, SAMPLES, TRAINING, Setting
from tunesmith.services.curves import Curves
from tunesmith.services.evaluators import PREFIX
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.job_kinds import JOB_KINDS
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.progress import Progress
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec.load import KINDS as SPECS
from tunesmith.spec.loss import METHODS
from tunesmith.spec.rft import DEFAULT_CHUNK, is_recorded

STATES: Mapping[str, str] = {
    "created": "JOB_STATE_CREATING",
    "validating": "JOB_STATE_VALIDATING",
    "queued": "JOB_STATE_PENDING",
    "running": "JOB_STATE_RUNNING",
    "pausing": "JOB_STATE_PAUSED",
    "paused": "JOB_STATE_PAUSED",
    "cancelling": "JOB_STATE_CANCELLING",
    "cancelled": "JOB_STATE_CANCELLED",
    "succeeded": "JOB_STATE_COMPLETED",
    "early_stopped": "JOB_STATE_EARLY_STOPPED",
    "failed": "JOB_STATE_FAILED",
    "deleting": "JOB_STATE_DELETING",
}
"""State of a job -> its state here."""
COLLECTIONS = {kind.kind: kind.collection for kind in KINDS}
SHOWN = {
    "rollout/reward_mean": "reward",
    "eval/reward_mean": "eval_reward",
    "train/loss": "loss",
    "eval/loss": "eval_loss",
    "train/accuracy": "accuracy",
    "train/margin": "margin",
}
"""Metric -> its name in ``outputMetrics``."""


def name_of(job: Job) -> str:
    return full_name(job.owner, COLLECTIONS[job.kind], job.name)


def brief(job: Job) -> Body:
    """What lists are filtered and ordered by: all but what is read from the run folder."""
    settings = _with_defaults(job)
    failed = job.state == "failed"
    return without_empty(
        {
            **_request_of(job, settings),
            "name": name_of(job),
            "displayName": job.display_name,
            "createTime": job.created_at,
            "updateTime": job.updated_at,
            "completedTime": job.ended_at,
            "createdBy": job.owner,
            "state": STATES[job.state],
            "status": {"code": "INVALID_ARGUMENT" if failed else "OK", "message": job.reason},
            "dataset": full_name(job.owner, "datasets", job.dataset),
            "evaluationDataset": None
            if job.evaluation_dataset is None
            else full_name(job.owner, "datasets", job.evaluation_dataset),
        }
    )


def body(request: Request, job: Job) -> Body:
    """All of it."""
    jobs: Jobs = request.app.state.jobs
    run = jobs.run(job.owner, job.id)
    curves: Curves = request.app.state.curves
    last, progress = curves.last(run), jobs.progress_of(job)
    log, metrics = run.path / "log.txt", run.path / "metrics.jsonl"
    measured = {shown: last[name] for name, shown in SHOWN.items() if name in last}
    used_s = sum(curves.total(run, name) for name in last if name.startswith("time/"))
    return without_empty(
        {
            **brief(job),
            "jobProgress": _progress(job, progress, curves, run),
            "outputMetrics": json.dumps(measured) if measured else None,
            "acceleratorSeconds": {_accelerator(): str(int(used_s))} if used_s else None,
            "trainerLogsSignedUrl": files.link(request, log) if log.is_file() else None,
            "metricsFileSignedUrl": files.link(request, metrics) if metrics.is_file() else None,
        }
    )


def _request_of(job: Job, settings: Mapping[str, Any]) -> Body:
    """The request's own words, with every default that the server filled in."""
    asked: Body = dict(job.asked) if "dataset" in job.asked else {}
    if job.kind == "sft":
        return asked | _training(job, asked, settings, SAMPLES) | {"evalAutoCarveout": settings["eval_auto_carveout"]}
    table = PACKED if job.kind == "rft" else SAMPLES
    body = asked | {"trainingConfig": _training(job, asked.get("trainingConfig", {}), settings, table)}
    if job.kind == "dpo":
        loss = {"method": settings["preference_loss"].upper(), "dpo": {"beta": settings["dpo_beta"]}}
        return body | {"lossConfig": loss}
    return body | {
        "evaluator": _evaluator(job, settings["evaluator"]),
        "lossConfig": _policy_loss(settings),
        "inferenceParameters": asked.get("inferenceParameters", {}) | _shown(settings, SAMPLING),
        "chunkSize": settings["chunk_size"] or DEFAULT_CHUNK,
        "evalAutoCarveout": settings["eval_auto_carveout"],
    }


def _training(job: Job, asked: Body, settings: Mapping[str, Any], batches: Mapping[str, Setting]) -> Body:
    start = {} if "warmStartFrom" in asked else {"baseModel": asked.get("baseModel", settings["base_model"])}
    output = full_name(job.owner, "models", job.output_model)
    return asked | _shown(settings, {**TRAINING, **batches}) | start | {"outputModel": output}


def _policy_loss(settings: Mapping[str, Any]) -> Body:
    method = settings["rl_loss_method"]
    beta = settings["rl_kl_beta"] or METHODS[method].kl_coef
    return {"method": method.upper().replace("-", "_"), **({"klBeta": beta} if beta else {})}


def _evaluator(job: Job, evaluator: object) -> str | None:
    """None where the scores stand in the dataset."""
    if is_recorded(evaluator):
        return None
    evaluator = str(evaluator)
    if evaluator.startswith(PREFIX):
        return full_name(job.owner, "evaluators", evaluator.removeprefix(PREFIX))
    return f"{PUBLIC_EVALUATORS}{evaluator.replace('_', '-')}"


def _shown(settings: Mapping[str, Any], table: Mapping[str, Setting]) -> Body:
    return {to_camel(name): settings[setting.ours] for name, setting in table.items()}


def _with_defaults(job: Job) -> dict[str, Any]:
    """All settings; those that nobody gave as their spec has them."""
    fields = SPECS[job.kind].model_fields
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    return {"evaluator": "", **defaults, **job.settings}


def _progress(job: Job, progress: Progress, curves: Curves, run: RunFolder) -> Body:
    """Requests are rollouts; of jobs without any, nothing is said of them."""
    body: Body = {"percent": progress.percent, "epoch": progress.epoch}
    if not JOB_KINDS[job.kind].samples:
        return body
    made = int(curves.total(run, "rollout/rollouts"))
    failed = round(curves.dot(run, "rollout/rollouts", "rollout/failed_share"))
    planned = round(made * progress.num_steps / progress.step) if progress.step else 0
    return body | {
        "totalInputRequests": max(planned, made),
        "totalProcessedRequests": made,
        "successfullyProcessedRequests": made - failed,
        "failedRequests": failed,
        "outputRows": made,
        "outputTokens": int(curves.total(run, "rollout/tokens")),
    }


def _accelerator() -> str:
    """What this machine computes on, as far as the system tells."""
    for about in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        for line in about.read_text("utf-8", "replace").splitlines():
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip().upper().replace(" ", "_")
    return "CPU"
