"""Routes of the dedicated mode's deployments: made, scaled, deleted, and loaded with what a trainer saved."""

from secrets import token_hex
from typing import Annotated, Any

from fastapi import Header, Request

from tunesmith.core.errors import Conflict, UserError
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.server.errors import refusal
from tunesmith.services.deployments import DeploymentRow

router = new_router()
DEPLOYMENTS = "/v1/accounts/{account}/deployments"
HOT_LOAD = "/hot_load/v1/models/hot_load"
Named = Annotated[str, Header(alias="fireworks-deployment")]


@router.post(DEPLOYMENTS)
async def create(request: Request, here: Here, account: str, deploymentId: str = "") -> dict[str, Any]:
    names.check_account(here.owner, account)
    deployment_id = deploymentId or f"deployment-{token_hex(4)}"
    names.check_label("deploymentId", deployment_id)
    body = await read_json(request, schemas.CreateDeployment)
    try:
        row = here.deployments.create(
            here.owner,
            deployment_id,
            names.our_model(request.app.state.registry, here.owner, body.baseModel),
            replicas=body.maxReplicaCount if body.maxReplicaCount is not None else 1,
            trainer=_trainer(here, body.hotLoadTrainerJob),
            asked=body.model_dump(exclude_none=True),
        )
    except Conflict as e:
        raise refusal(409, e) from None
    return _shown(row)


@router.get(DEPLOYMENTS)
async def list_all(here: Here, account: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    rows = [_shown(row) for row in here.deployments.page(here.owner, limit=1000)[0]]
    return {"deployments": rows, "nextPageToken": "", "totalSize": len(rows)}


@router.get(DEPLOYMENTS + "/{name}")
async def get(here: Here, account: str, name: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    return _shown(here.deployments.get(here.owner, name))


@router.patch(DEPLOYMENTS + "/{name}")
async def change(request: Request, here: Here, account: str, name: str) -> dict[str, Any]:
    """Scale it, or give it another trainer, whose snapshots it loads from then on."""
    names.check_account(here.owner, account)
    row = here.deployments.get(here.owner, name)
    body = await read_json(request, schemas.ChangeDeployment)
    fields: dict[str, Any] = {"asked": {**row.asked, **body.model_dump(exclude_none=True)}}
    if body.maxReplicaCount is not None:
        fields["replicas"] = body.maxReplicaCount
    if body.hotLoadTrainerJob is not None:
        fields |= {"trainer": _trainer(here, body.hotLoadTrainerJob), "identity": "", "path": ""}
    return _shown(here.deployments.change(here.owner, row.id, **fields))


@router.delete(DEPLOYMENTS + "/{name}")
async def delete(here: Here, account: str, name: str) -> dict[str, Any]:
    names.check_account(here.owner, account)
    here.deployments.delete(here.owner, name, for_good=True)
    return {}


@router.post(HOT_LOAD)
async def hot_load(request: Request, here: Here, named: Named) -> dict[str, Any]:
    """Serve a snapshot from the next request on; those that run finish on what they began with."""
    row = _deployment(here, named)
    body = await read_json(request, schemas.HotLoad)
    if body.incremental_snapshot_metadata is not None:
        raise UserError("incremental_snapshot_metadata", "adapters are loaded whole", "Leave it out")
    near = [here.models_of(row.trainer)] if row.trainer else []
    kinds = (names.SAMPLER_WEIGHTS,)
    saved = names.find_checkpoint(here.sessions, here.owner, body.identity, kinds, near)
    if saved.base_model != row.base_model:
        problem = f"belongs to {saved.base_model}, and {row.id} serves {row.base_model}"
        raise UserError(body.identity, problem, "Deploy its own base model")
    here.deployments.change(here.owner, row.id, identity=body.identity, path=saved.path)
    return {}


@router.get(HOT_LOAD)
async def hot_load_status(here: Here, named: Named) -> dict[str, Any]:
    row = _deployment(here, named)
    if not row.replicas:
        return {"replicas": []}
    loaded = [{"identity": row.identity, "status": "loaded"}] if row.identity else []
    replica = {
        "current_snapshot_identity": row.identity or None,
        "readiness": True,
        "loading_state": {"stage": "done", "target_snapshot_identity": row.identity or None},
        "loaded_adapters": loaded,
    }
    return {"replicas": [replica]}


def _deployment(here: Place, named: str) -> DeploymentRow:
    """The deployment of a header, ``accounts/<account>/deployments/<id>``."""
    account, _, name = named.removeprefix("accounts/").partition("/deployments/")
    names.check_account(here.owner, account)
    return here.deployments.get(here.owner, name)


def _trainer(here: Place, job: str) -> str:
    return here.trainers.find(here.owner, job.rpartition("/")[2]).id if job else ""


def _shown(row: DeploymentRow) -> dict[str, Any]:
    return {
        **row.asked,
        "name": f"accounts/{names.account_of(row.owner)}/deployments/{row.id}",
        "createTime": row.created_at,
        "baseModel": row.base_model,
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "replicaCount": row.replicas,
    }
