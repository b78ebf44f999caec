"""``/deployments``: names under which the server answers for a model, which can change behind them."""

import asyncio
from secrets import token_hex
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import Load, NewDeployment, Scale, Unload
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset
from tunesmith.server.dialects.weights import DEPLOYMENT
from tunesmith.services.deployments import Deployments

router = new_router("deployments")


@router.get("/deployments", response_model=answers.Page[answers.Deployment])
def list_deployments(request: Request, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    """The newest first."""
    rows, total = _deployments(request).page(owner, limit=limit, offset=offset)
    return answers.page([_shown(request, owner, row.id) for row in rows], total, offset)


@router.post("/deployments", response_model=answers.Deployment)
async def create_deployment(request: Request, owner: Owner) -> dict[str, Any]:
    """Give a base or tuned model a name to be served under."""
    given = await read_json(request, NewDeployment)

    def make() -> dict[str, Any]:
        _deployments(request).create(owner, given.id, given.model)
        return _shown(request, owner, given.id)

    return await asyncio.to_thread(make)


@router.get("/deployments/{deployment_id}", response_model=answers.Deployment)
def get_deployment(request: Request, owner: Owner, deployment_id: str) -> dict[str, Any]:
    return _shown(request, owner, deployment_id)


@router.post("/deployments/{deployment_id}/scale", response_model=answers.Deployment)
async def scale_deployment(request: Request, owner: Owner, deployment_id: str) -> dict[str, Any]:
    """0 closes the name, more opens it: all requests share one copy of the weights."""
    given = await read_json(request, Scale)

    def scale() -> dict[str, Any]:
        _deployments(request).scale(owner, deployment_id, given.replicas)
        return _shown(request, owner, deployment_id)

    return await asyncio.to_thread(scale)


@router.post("/deployments/{deployment_id}/load", response_model=answers.Deployment)
async def load_model(request: Request, owner: Owner, deployment_id: str) -> dict[str, Any]:
    """Serve a tuned model there too, as `<model>#<deployment>`."""
    given = await read_json(request, Load)

    def load() -> dict[str, Any]:
        loaded_id = f"loaded-{token_hex(8)}"
        _deployments(request).load(owner, loaded_id, given.model, deployment_id, default=given.default)
        return _shown(request, owner, deployment_id)

    return await asyncio.to_thread(load)


@router.post("/deployments/{deployment_id}/unload", response_model=answers.Deployment)
async def unload_model(request: Request, owner: Owner, deployment_id: str) -> dict[str, Any]:
    """Take a tuned model off again. Requests in hand finish."""
    given = await read_json(request, Unload)

    def unload() -> dict[str, Any]:
        loaded = _deployments(request).all_loaded(owner, deployment_id)
        found = next((one for one in loaded if one.model == given.model), None)
        if found is None:
            there = ", ".join(one.model for one in loaded) or "none"
            raise NotFound(given.model[:200], f"is not loaded on {deployment_id}", f"Those that are: {there}")
        _deployments(request).unload(owner, found.id)
        return _shown(request, owner, deployment_id)

    return await asyncio.to_thread(unload)


@router.delete("/deployments/{deployment_id}", status_code=204)
def delete_deployment(request: Request, owner: Owner, deployment_id: str) -> None:
    """Close the name for good."""
    _deployments(request).delete(owner, deployment_id, for_good=True)


def _shown(request: Request, owner: str, deployment_id: str) -> dict[str, Any]:
    deployments = _deployments(request)
    row, loaded = deployments.get(owner, deployment_id), deployments.all_loaded(owner, deployment_id)
    names = ("id", "model", "base_model", "replicas", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in names},
        "name": DEPLOYMENT + row.id,
        "loaded": [one.model for one in loaded],
        "default": next((one.model for one in loaded if one.default), row.model),
    }


def _deployments(request: Request) -> Deployments:
    deployments: Deployments = request.app.state.deployments
    return deployments
