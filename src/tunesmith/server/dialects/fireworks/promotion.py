"""Promoting: a checkpoint becomes a whole model under a name of its own, to be sampled and trained like any other."""

from typing import Any

from fastapi import Request

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.services.merging import merge_apart
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.rows import CheckpointRow

router = new_router()
KINDS = (names.SAMPLER_WEIGHTS,)


@router.post("/v1/accounts/{account}/trainingSessions/{session_id}/checkpoints/{name}:promote")
async def of_session(request: Request, here: Here, account: str, session_id: str, name: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    body = await read_json(request, schemas.Promote)
    session = here.sessions.clients.find(here.owner, session_id)
    near = [here.models_in(session.id)]
    row = names.find_checkpoint(here.sessions, here.owner, name, KINDS, near)
    return await _promoted(request, here, row, body)


@router.post("/v1/accounts/{account}/checkpoints/{name}:promote")
async def of_job(request: Request, here: Here, account: str, name: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    body = await read_json(request, schemas.PromoteOfJob)
    job = here.trainers.find(here.owner, body.trainer_job_id.rpartition("/")[2])
    row = names.find_checkpoint(here.sessions, here.owner, name, KINDS, [here.models_of(job.id)])
    return await _promoted(request, here, row, body)


async def _promoted(request: Request, here: Place, row: CheckpointRow, body: schemas.Promote) -> dict[str, Any]:
    registry: Registry = request.app.state.registry
    parent = f"accounts/{names.account_of(here.owner)}/models/"
    model = body.output_model.removeprefix(parent)
    names.check_label("output_model", model)
    name = parent + model
    if body.base_model not in ("", row.base_model):
        raise UserError("base_model", f"{row.name} was trained on {row.base_model}", "Give that, or leave it out")
    _check_free(registry, name)
    folder = request.app.state.settings.data_dir / "models" / name
    base = here.sessions.engines.model(row.base_model).folder
    await merge_apart(base, here.sessions.vault.adapter(row), folder)
    registry.add(name, folder)
    return {"model": {"name": name, "state": "READY", "kind": "HF_BASE_MODEL", "baseModel": row.base_model}}


def _check_free(registry: Registry, name: str) -> None:
    try:
        registry.find(name)
    except NotFound:
        return
    raise Conflict(name, "is the name of a model already", "Choose another")
