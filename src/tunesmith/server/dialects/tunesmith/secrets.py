"""``/secrets``: what the owner's evaluators find in their environment. Values go in and never come out."""

import asyncio
from typing import Any

from fastapi import Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import NewSecret
from tunesmith.services.secrets import SecretInfo, Secrets

router = new_router("secrets")


@router.get("/secrets", response_model=answers.Secrets)
def list_secrets(request: Request, owner: Owner) -> dict[str, Any]:
    """By name."""
    return {"items": [_shown(info) for info in _secrets(request).list(owner)]}


@router.put("/secrets/{name}", response_model=answers.Secret)
async def put_secret(request: Request, owner: Owner, name: str) -> dict[str, str]:
    """Keep a value under the name of an environment variable; an older one is replaced."""
    given = await read_json(request, NewSecret)
    return _shown(await asyncio.to_thread(_secrets(request).put, owner, name, given.value))


@router.delete("/secrets/{name}", status_code=204)
def delete_secret(request: Request, owner: Owner, name: str) -> None:
    _secrets(request).delete(owner, name)


def _shown(info: SecretInfo) -> dict[str, str]:
    return {"name": info.key_name, "created_at": info.created_at, "updated_at": info.updated_at}


def _secrets(request: Request) -> Secrets:
    secrets: Secrets = request.app.state.secrets
    return secrets
