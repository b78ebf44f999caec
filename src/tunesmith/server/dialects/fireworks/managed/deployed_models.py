"""``/deployedModels``: tuned models that are loaded on a deployment of their base model."""

from collections.abc import Mapping
from secrets import token_hex
from typing import Annotated, Any

from fastapi import Query, Request

from tunesmith.core.errors import UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name, id_in, read
from tunesmith.server.dialects.fireworks.managed.creating import taken
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing, Mask, masked
from tunesmith.server.dialects.fireworks.managed.uploads import status
from tunesmith.services.deployments import DeployedModelRow, Deployments

router = new_router()
LOADED = "/v1/accounts/{account}/deployedModels"
ONE = LOADED + "/{loaded_id}"


class Load(Wire):
    model: str = ""
    deployment: str = ""
    default: bool | None = None
    display_name: str | None = None
    description: str | None = None
    public: bool | None = None
    serverless: bool | None = None

    def asked(self) -> dict[str, Any]:
        kept = {"display_name", "description", "public", "serverless"}
        return self.model_dump(by_alias=True, include=kept, exclude_none=True)


@router.post(LOADED, response_model=None)
async def load(
    request: Request,
    owner: Owner,
    account: str,
    replace: Annotated[bool, Query(alias="replaceMergedAddon")] = False,
) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, Load)
    for name in ("model", "deployment"):
        if not getattr(body, name):
            mend = "Name both. By its own name, accounts/<account>/models/<id>, a tuned model answers without either"
            raise UserError(name, "is missing", mend)
    model = names.our_model(request.app.state.registry, owner, body.model)
    deployment = id_in("deployment", owner, "deployments", body.deployment)
    default = bool(body.default)
    with taken(model):
        row = _deployments(request).load(
            owner, _own_id(model), model, deployment, default=default, replace=replace, asked=body.asked()
        )
    return shown(row)


@router.get(LOADED, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    return listing.page("deployedModels", [shown(row) for row in _deployments(request).all_loaded(owner)])


@router.get(ONE, response_model=None)
def get(request: Request, owner: Owner, account: str, loaded_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(shown(_deployments(request).loaded(owner, loaded_id)), read_mask)


@router.patch(ONE, response_model=None)
async def change(request: Request, owner: Owner, account: str, loaded_id: str) -> Mapping[str, Any]:
    """What people read of it, and whether the deployment's own name means it."""
    names.check_account(owner, account)
    body = await read(request, Load)
    row = _deployments(request).loaded(owner, loaded_id)
    default = row.default if body.default is None else body.default
    return shown(_deployments(request).change_loaded(owner, loaded_id, default, {**row.asked, **body.asked()}))


@router.delete(ONE, response_model=None)
def unload(request: Request, owner: Owner, account: str, loaded_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    _deployments(request).unload(owner, loaded_id)
    return {}


def shown(row: DeployedModelRow) -> Body:
    return {
        **row.asked,
        "name": full_name(row.owner, "deployedModels", row.id),
        "model": full_name(row.owner, "models", row.model),
        "deployment": full_name(row.owner, "deployments", row.deployment),
        "default": row.default,
        "createTime": row.created_at,
        "updateTime": row.updated_at,
        "state": "DEPLOYED",
        "status": status(),
    }


def _own_id(model: str) -> str:
    stem = "".join(c if c.isalnum() else "-" for c in model.lower())[:50].strip("-")
    return f"{stem}-{token_hex(4)}".strip("-")


def _deployments(request: Request) -> Deployments:
    deployments: Deployments = request.app.state.deployments
    return deployments
