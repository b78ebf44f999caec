"""Routes of the dedicated mode's trainers: shapes to choose from, and jobs, which run as soon as they are asked for."""

from secrets import token_hex
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.accounts import checkpoint
from tunesmith.server.dialects.fireworks.envelope import new_router
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
async def create_job(request: Request, here: Here, account: str, rlorTrainerJobId: str = "") -> dict[str, Any]:
    names.check_account(here.owner, account)
    job_id = rlorTrainerJobId or f"trainer-{token_hex(4)}"
    names.check_label("rlorTrainerJobId", job_id)
    body = await read_json(request, schemas.CreateJob)
    engines = here.sessions.engines
    base = engines.model(names.our_model(engines.registry, here.owner, body.trainingConfig.baseModel))
    if not (body.trainingConfig.loraRank or body.forwardOnly):
        mend = "Give a rank such as 8; all weights are trained by managed jobs, with lora_rank 0"
        raise UserError("trainingConfig.loraRank", "asks for all weights: trainers here train adapters", mend)
    if job_id in {row.id for row in here.trainers.jobs(here.owner)}:
        taken = UserError(job_id, "is the id of a trainer job already", "Go on with it, or choose another")
        raise refusal(409, taken)
    rank = body.trainingConfig.loraRank
    asked = body.model_dump(exclude_none=True)
    return _job(here, here.trainers.create(here.owner, job_id, base.name, rank, asked))


@router.get(JOBS)
async def jobs(here: Here, account: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    rows = [_job(here, row) for row in here.trainers.jobs(here.owner)]
    return {"rlorTrainerJobs": rows, "nextPageToken": "", "totalSize": len(rows)}


@router.get(JOBS + "/{name}")
async def job(here: Here, account: str, name: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    return _job(here, here.trainers.find(here.owner, name))


@router.delete(JOBS + "/{name}")
async def delete_job(here: Here, account: str, name: str) -> dict[str, Any]:
    """Its models leave memory; checkpoints stay, and are found under its name."""
    names.check_account(here.owner, account)
    here.trainers.delete(here.owner, name)
    for session_id in here.trainers.sessions(here.owner, name):
        here.sessions.end(here.owner, session_id, "success")
    return {}


@router.post(JOBS + "/{name}:cancel")
async def cancel_job(here: Here, account: str, name: str) -> dict[str, Any]:
    """Its models go from memory to disk, and its address answers nothing until it is resumed."""
    names.check_account(here.owner, account)
    here.trainers.cancel(here.owner, name)
    for session_id in here.trainers.sessions(here.owner, name):
        here.sessions.models.park(session_id)
    return {}


@router.post(JOBS + "/{name}:resume")
async def resume_job(here: Here, account: str, name: str) -> dict[str, Any]:
    """A cancelled job goes on where it was; one that runs never stopped."""
    names.check_account(here.owner, account)
    return _job(here, here.trainers.resume(here.owner, name))


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


def _job(here: Place, row: TrainerRow) -> dict[str, Any]:
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
    }
