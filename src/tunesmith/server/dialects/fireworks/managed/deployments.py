"""``/deployments``: names that serve a model. Nothing is provisioned, so a deployment is READY at once."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.bodies import full_name, read_members
from tunesmith.server.dialects.fireworks.managed.creating import own_id, taken
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing, Mask, all_pages, masked, without_empty
from tunesmith.server.dialects.fireworks.managed.uploads import masked_update, status
from tunesmith.services.deployments import DeploymentRow, Deployments
from tunesmith.services.trainers import Trainers

router = new_router()
DEPLOYMENTS = "/v1/accounts/{account}/deployments"
ONE = DEPLOYMENTS + "/{deployment_id}"
QUANTIZED = ("FP8", "FP4", "NVFP4")
ADDONS = "addons cannot be enabled with quantized precisions (FP8/FP4)"
OURS = ("name", "state", "status", "createTime", "updateTime", "deleteTime", "replicaCount", "replicaStats")
"""Members that a client cannot set."""


@router.post(DEPLOYMENTS, response_model=None)
async def create(
    request: Request,
    owner: Owner,
    account: str,
    deployment_id: Annotated[str, Query(alias="deploymentId")] = "",
    validate_only: Annotated[bool, Query(alias="validateOnly")] = False,
) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read_members(request)
    base_model = body.get("baseModel")
    if not base_model or not isinstance(base_model, str):
        raise UserError("baseModel", "is missing", "Name a base or tuned model, accounts/<account>/models/<id>")
    _check_addons(body)
    with taken():
        row = _deployments(request).create(
            owner,
            own_id("deploymentId", deployment_id, "deployment"),
            names.our_model(request.app.state.registry, owner, base_model),
            replicas=_count(body, "maxReplicaCount", 1),
            trainer=_trainer(request, owner, body),
            asked=_kept(body),
            only_check=validate_only,
        )
    return shown(row)


@router.get(DEPLOYMENTS, response_model=None)
def list_all(
    request: Request,
    owner: Owner,
    account: str,
    listing: Listing,
    show_deleted: Annotated[bool, Query(alias="showDeleted")] = False,
) -> Mapping[str, Any]:
    names.check_account(owner, account)
    rows = all_pages(_deployments(request).page, owner=owner, deleted=show_deleted)
    return listing.page("deployments", [shown(row) for row in rows])


@router.patch(ONE + ":scale", response_model=None)
async def scale(request: Request, owner: Owner, account: str, deployment_id: str) -> Mapping[str, Any]:
    """All requests share one copy of the weights, whatever the count; 0 closes the name."""
    names.check_account(owner, account)
    wanted = _count(await read_members(request), "replicaCount", 0)
    return shown(_deployments(request).scale(owner, deployment_id, wanted))


@router.post(ONE + ":undelete", response_model=None)
def undelete(request: Request, owner: Owner, account: str, deployment_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    return shown(_deployments(request).undelete(owner, deployment_id))


@router.get(ONE, response_model=None)
def get(request: Request, owner: Owner, account: str, deployment_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(shown(_deployments(request).get(owner, deployment_id)), read_mask)


@router.patch(ONE, response_model=None)
async def change(
    request: Request,
    owner: Owner,
    account: str,
    deployment_id: str,
    update_mask: Annotated[str, Query(alias="updateMask")] = "",
) -> Mapping[str, Any]:
    """Scale it, describe it, or give it another trainer, whose snapshots it loads from then on."""
    names.check_account(owner, account)
    body = masked_update(await read_members(request), update_mask)
    row = _deployments(request).get(owner, deployment_id)
    asked = {**row.asked, **{name: value for name, value in _kept(body).items() if value is not None}}
    _check_addons(asked)
    fields: dict[str, Any] = {"asked": asked}
    if body.get("maxReplicaCount") is not None:
        fields["replicas"] = _count(body, "maxReplicaCount", 1)
    if body.get("hotLoadTrainerJob") is not None:
        fields |= {"trainer": _trainer(request, owner, body), "identity": "", "path": ""}
    return shown(_deployments(request).change(owner, deployment_id, **fields))


@router.delete(ONE, response_model=None)
def delete(request: Request, owner: Owner, account: str, deployment_id: str, hard: bool = False) -> Mapping[str, Any]:
    names.check_account(owner, account)
    _deployments(request).delete(owner, deployment_id, for_good=hard)
    return {}


def shown(row: DeploymentRow) -> Body:
    """What was asked for, and where it stands."""
    return without_empty(
        {
            **row.asked,
            "name": full_name(row.owner, "deployments", row.id),
            "baseModel": row.asked.get("baseModel", row.model),
            "createTime": row.created_at,
            "updateTime": row.updated_at,
            "deleteTime": row.deleted_at,
            "state": "DELETED" if row.deleted_at else "READY",
            "status": status(),
            "replicaCount": row.replicas,
            "replicaStats": {"readyReplicaCount": row.replicas},
        }
    )


def _kept(body: Mapping[str, Any]) -> Body:
    return {name: value for name, value in body.items() if name not in OURS}


def _check_addons(body: Mapping[str, Any]) -> None:
    if body.get("enableAddons") and str(body.get("precision", "")).upper().startswith(QUANTIZED):
        raise HTTPException(400, ADDONS)


def _count(body: Mapping[str, Any], name: str, default: int) -> int:
    """A number of replicas; as text too, as large numbers come."""
    value = body.get(name, default)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(name, f"is no number of replicas (got {value!r:.60})", "Give 1; 0 closes the name")
    return value


def _trainer(request: Request, owner: str, body: Mapping[str, Any]) -> str:
    trainers: Trainers = request.app.state.trainers
    job = str(body.get("hotLoadTrainerJob") or "")
    return trainers.find(owner, job.rpartition("/")[2]).id if job else ""


def _deployments(request: Request) -> Deployments:
    deployments: Deployments = request.app.state.deployments
    return deployments
