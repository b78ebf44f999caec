"""``/keys``: those of the same owner. A key makes others, lists them and revokes them, itself too."""

import asyncio
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import NewKey
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset
from tunesmith.services.keys import KeyInfo, Keys

router = new_router("keys")


@router.get("/keys", response_model=answers.Page[answers.Key])
def list_keys(request: Request, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    """Oldest first, revoked ones too."""
    own = _own(request, owner)
    return answers.page(own[offset : offset + limit], len(own), offset)


@router.post("/keys", response_model=answers.NewKey)
async def create_key(request: Request, owner: Owner) -> dict[str, Any]:
    """Make a key and show it, this once: only its hash is kept."""
    given = await read_json(request, NewKey)

    def make() -> dict[str, Any]:
        key = _keys(request).create(owner, given.name, scope=given.scope, days=given.days)
        info = _keys(request).find(key)
        return {**{name: getattr(info, name) for name in answers.Key.model_fields}, "key": key}

    return await asyncio.to_thread(make)


@router.delete("/keys/{key_id}", response_model=answers.Key)
def revoke_key(request: Request, owner: Owner, key_id: str) -> KeyInfo:
    """Refuse it from its next request on."""
    if all(info.id != key_id for info in _own(request, owner)):
        raise NotFound("key", f"no key of yours has the id {key_id[:80]!r}", "List them with GET /api/v1/keys")
    return _keys(request).revoke(key_id)


def _own(request: Request, owner: str) -> list[KeyInfo]:
    return [info for info in _keys(request).list() if info.owner == owner]


def _keys(request: Request) -> Keys:
    keys: Keys = request.app.state.keys
    return keys
