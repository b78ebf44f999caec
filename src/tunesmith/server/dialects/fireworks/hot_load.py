"""Routes that load into a deployment what a trainer saved."""

from typing import Annotated, Any

from fastapi import Header, Request

from tunesmith.core.errors import UserError
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.services.deployments import DeploymentRow

router = new_router()
HOT_LOAD = "/hot_load/v1/models/hot_load"
Named = Annotated[str, Header(alias="fireworks-deployment")]


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
