"""``/models``: base models, which everybody has, and the tuned models of the key's owner."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import Denied, NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.weights import find_weights
from tunesmith.services.registry import Registry
from tunesmith.services.tuned_models import TunedModel, TunedModels

router = new_router()
OF_SERVER = "tunesmith"
MOST_LISTED = 10_000


@router.get("/models", response_model=None)
def models(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Base models, then tuned ones, the newest first."""
    own, _ = _tuned(request).page(owner, MOST_LISTED)
    return {"object": "list", "data": [*_bases(request), *(_own(owner, model) for model in own)]}


@router.get("/models/{name:path}", response_model=None)
async def model(request: Request, owner: Owner, name: str) -> Mapping[str, Any]:
    """One model; a checkpoint's path is one too."""
    if (own := _tuned(request).get(owner, name)) is not None:
        return _own(owner, own)
    for base in _bases(request):
        if base["id"] == name:
            return base
    find_weights(request, owner, name)
    return _body(name, int(time.time()), owner)


@router.delete("/models/{name:path}", response_model=None)
async def delete(request: Request, owner: Owner, name: str) -> Mapping[str, Any] | Response:
    """Forget a tuned model."""
    try:
        _tuned(request).remove(owner, name)
    except NotFound:
        if any(base["id"] == name for base in _bases(request)):
            mend = "Remove it where the server runs: tunesmith models remove"
            raise Denied("model", f"{name} is a base model, which others use too", mend) from None
        raise
    return {"id": name, "object": "model", "deleted": True}


def _tuned(request: Request) -> TunedModels:
    tuned: TunedModels = request.app.state.tuned_models
    return tuned


def _bases(request: Request) -> list[dict[str, Any]]:
    registry: Registry = request.app.state.registry
    return [_body(base.name, int(base.folder.stat().st_mtime), OF_SERVER) for base in registry.models()]


def _own(owner: str, own: TunedModel) -> dict[str, Any]:
    created = int(datetime.fromisoformat(own.created_at).timestamp())
    return _body(own.name, created, owner) | {"parent": own.base_model, "root": own.base_model}


def _body(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
