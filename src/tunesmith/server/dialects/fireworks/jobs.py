"""Routes of the dedicated mode's trainers: shapes to choose from, and jobs, which run as soon as they are asked for."""

import asyncio
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.accounts import checkpoint
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import train_steps
from tunesmith.server.dialects.fireworks.managed.bodies import read
from tunesmith.server.dialects.fireworks.managed.creating import is_retry
from tunesmith.server.dialects.fireworks.managed.job_kinds import models_of
from tunesmith.server.dialects.fireworks.managed.train_steps import ScoredAttempts
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.server.errors import refusal
from tunesmith.services.trainers import CANCELLED, DELETED, RUNNING, TrainerRow

router = new_router()
PUBLIC = "fireworks"
"""The account of shapes that every key can see."""
STATES = {RUNNING: "JOB_STATE_RUNNING", CANCELLED: "JOB_STATE_CANCELLED", DELETED: "JOB_STATE_DELETED"}
JOBS = "/v1/accounts/{account}/rlorTrainerJobs"


@router.get("/v1/accounts/{account}/trainingShapes/{shape}/versions")
async def shape_versions(here: Here, account: str, shape: str) -> dict[str, Any]:
    """This machine has one shape, which answers to every name."""
    return {"trainingShapeVersions": [_shape(here, account, shape)], "nextPageToken": "", "totalSize": 1}


@router.get("/v1/accounts/{account}/trainingShapes/{shape}/versions/{version}")
async def shape_version(here: Here, account: str, shape: str, version: str) -> dict[str, Any]:
    return _shape(here, account, shape, version)


@router.post(JOBS)
async def create_job(request: Request, here: Here, account: str, rlorTrainerJobId: str = "") -> Mapping[str, Any]:
    names.check_account(here.owner, account)
    job_id = rlorTrainerJobId or f"trainer-{token_hex(4)}"
    names.check_label("rlorTrainerJobId", job_id)
    body = await read_json(request, schemas.CreateJob)
    asked = body.model_dump(exclude_none=True, exclude_unset=True)
    steps = train_steps.read(asked)
    there = next((row for row in here.trainers.jobs(here.owner) if row.id == job_id), None)
    if there and is_retry(request) and there.asked == asked:
        return _job(request, here, there)
    if there:
        taken = UserError(job_id, "is the id of a trainer job already", "Go on with it, or choose another")
        raise refusal(409, taken)
    if steps.takes_steps:
        return await asyncio.to_thread(_create_for_steps, request, here, job_id, asked, steps)
    engines = here.sessions.engines
    base = engines.model(names.our_model(engines.registry, here.owner, body.trainingConfig.baseModel))
    if not (body.trainingConfig.loraRank or body.forwardOnly):
        mend = "Give a rank such as 8; all weights are trained by managed jobs, with lora_rank 0"
        raise UserError("trainingConfig.loraRank", "asks for all weights: trainers here train adapters", mend)
    rank = body.trainingConfig.loraRank
    return _job(request, here, here.trainers.create(here.owner, job_id, base.name, rank, asked))


def _create_for_steps(
    request: Request, here: Place, job_id: str, asked: dict[str, Any], steps: ScoredAttempts
) -> Mapping[str, Any]:
    """A trainer job, with its first step where it names a dataset; nothing of it where that is refused."""
    start = models_of(request, here.owner, steps.training_config)
    row = TrainerRow(owner=here.owner, id=job_id, base_model=start["base_model"], rank=0, asked=asked)
    first = None
    if steps.dataset:
        first = train_steps.queue(request, row, steps.dataset, steps.training_config.output_model)
    made = here.trainers.create(here.owner, job_id, row.base_model, row.rank, asked)
    if first:
        here.trainers.add_step(here.owner, job_id, first.id, first.output_model)
    return _job(request, here, made)


@router.post(JOBS + "/{name}:executeTrainStep")
async def execute_step(request: Request, here: Here, account: str, name: str) -> Mapping[str, Any]:
    """Queue a step on a dataset of scored attempts; the trainer job is at it until its state is JOB_STATE_IDLE."""
    names.check_account(here.owner, account)
    body = await read(request, train_steps.ExecuteStep)
    await asyncio.to_thread(_execute, request, here, name, body)
    return {}


def _execute(request: Request, here: Place, name: str, body: train_steps.ExecuteStep) -> None:
    row = here.trainers.running(here.owner, name)
    if not train_steps.read(row.asked).keep_alive:
        mend = "Create it with keepAlive and without serviceMode"
        raise UserError(name, "takes no steps on datasets: it is not kept alive", mend)
    step = train_steps.queue(request, row, body.dataset, body.output_model)
    here.trainers.add_step(here.owner, row.id, step.id, step.output_model)


@router.get(JOBS)
def jobs(request: Request, here: Here, account: str) -> Mapping[str, Any]:
    names.check_account(here.owner, account)
    rows = [_job(request, here, row) for row in here.trainers.jobs(here.owner)]
    return {"rlorTrainerJobs": rows, "nextPageToken": "", "totalSize": len(rows)}


@router.get(JOBS + "/{name}")
def job(request: Request, here: Here, account: str, name: str) -> Mapping[str, Any]:
    names.check_account(here.owner, account)
    return _job(request, here, here.trainers.find(here.owner, name))


@router.delete(JOBS + "/{name}")
async def delete_job(request: Request, here: Here, account: str, name: str) -> dict[str, Any]:
    """Its models leave memory; checkpoints stay, and are found under its name."""
    names.check_account(here.owner, account)
    await asyncio.to_thread(train_steps.delete, request, here.trainers.find(here.owner, name))
    here.trainers.delete(here.owner, name)
    for session_id in here.trainers.sessions(here.owner, name):
        here.sessions.end(here.owner, session_id, "success")
    return {}


@router.post(JOBS + "/{name}:cancel")
async def cancel_job(request: Request, here: Here, account: str, name: str) -> dict[str, Any]:
    """Its models go from memory to disk, and its address answers nothing until it is resumed."""
    names.check_account(here.owner, account)
    await asyncio.to_thread(train_steps.cancel, request, here.trainers.find(here.owner, name))
    here.trainers.cancel(here.owner, name)
    for session_id in here.trainers.sessions(here.owner, name):
        here.sessions.models.park(session_id)
    return {}


@router.post(JOBS + "/{name}:resume")
def resume_job(request: Request, here: Here, account: str, name: str) -> Mapping[str, Any]:
    """A cancelled job goes on where it was; one that runs never stopped."""
    names.check_account(here.owner, account)
    row = here.trainers.resume(here.owner, name)
    train_steps.resume(request, row)
    return _job(request, here, row)


@router.get(JOBS + "/{name}/checkpoints")
async def job_checkpoints(here: Here, account: str, name: str) -> dict[str, Any]:
    """All that was saved at its address, oldest first, on one page; of deleted jobs too."""
    names.check_account(here.owner, account)
    row = here.trainers.find(here.owner, name)
    parent = f"accounts/{account}/rlorTrainerJobs/{row.id}"
    saved = here.sessions.vault.of_models(here.owner, here.models_of(row.id))
    listed = [checkpoint(parent, c) for c in saved]
    return {"checkpoints": listed, "nextPageToken": "", "totalSize": len(listed)}


def _shape(here: Place, account: str, shape: str, version: str = "1") -> dict[str, Any]:
    if account != PUBLIC:
        names.check_account(here.owner, account)
    if version not in ("1", "latest"):
        raise NotFound(version, "no such version of this shape", "Ask for version 1")
    longest = max(m.max_context for m in here.sessions.engines.registry.models())
    return {
        "name": f"accounts/{account}/trainingShapes/{shape}/versions/1",
        "latestValidated": True,
        "snapshot": {
            "maxSupportedContextLength": longest,
            "nodeCount": 1,
            "deploymentShapeVersion": f"accounts/{account}/deploymentShapes/{shape}/versions/1",
            "trainerMode": "LORA_TRAINER",
            "acceleratorCount": 1,
        },
    }


def _job(request: Request, here: Place, row: TrainerRow) -> Mapping[str, Any]:
    """What was asked for, and where it stands."""
    context = here.sessions.engines.model(row.base_model).context
    config = row.asked["trainingConfig"]
    return {
        **row.asked,
        "name": f"accounts/{names.account_of(row.owner)}/rlorTrainerJobs/{row.id}",
        "createTime": row.created_at,
        "updateTime": row.updated_at,
        "state": STATES[row.state],
        "status": {"code": "OK", "message": ""},
        "trainingConfig": {**config, "maxContextLength": min(config.get("maxContextLength") or context, context)},
        **train_steps.shown(request, row),
    }
