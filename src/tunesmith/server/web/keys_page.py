"""``/dashboard/keys`` and ``/dashboard/secrets``: who may ask, and what evaluators may know."""

import asyncio

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.errors import NotFound
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import PREFIX, Seen
from tunesmith.services.keys import KeyInfo, Keys
from tunesmith.services.secrets import Secrets

router = new_router()


@router.get("/keys")
def list_keys(request: Request, visitor: Seen) -> Response:
    return page(request, "keys.html", visitor, rows=_own_keys(request, visitor.owner), made="")


@router.post("/keys")
async def make_key(request: Request, visitor: Seen, form: Form) -> Response:
    """The key is in this answer and nowhere else."""
    made = await asyncio.to_thread(_keys(request).create, form.owner, form.fields.get("name", "").strip())
    rows = await asyncio.to_thread(_own_keys, request, form.owner)
    return page(request, "keys.html", visitor, rows=rows, made=made)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(request: Request, form: Form, key_id: str) -> Response:
    if key_id not in {row.id for row in await asyncio.to_thread(_own_keys, request, form.owner)}:
        raise NotFound("key", f"no key has the id {key_id[:40]!r}", "Choose one of the list")
    await asyncio.to_thread(_keys(request).revoke, key_id)
    return RedirectResponse(f"{PREFIX}/keys", 303, HEADERS)


@router.get("/secrets")
def list_secrets(request: Request, visitor: Seen) -> Response:
    return page(request, "secrets.html", visitor, rows=_secrets(request).list(visitor.owner))


@router.post("/secrets")
async def put_secret(request: Request, form: Form) -> Response:
    name, value = form.need("name"), form.need("value")
    await asyncio.to_thread(_secrets(request).put, form.owner, name, value)
    return RedirectResponse(f"{PREFIX}/secrets", 303, HEADERS)


@router.post("/secrets/{name}/delete")
async def delete_secret(request: Request, form: Form, name: str) -> Response:
    await asyncio.to_thread(_secrets(request).delete, form.owner, name)
    return RedirectResponse(f"{PREFIX}/secrets", 303, HEADERS)


def _own_keys(request: Request, owner: str) -> list[KeyInfo]:
    """Newest first, revoked ones last."""
    own = [key for key in reversed(_keys(request).list()) if key.owner == owner]
    return sorted(own, key=lambda key: key.revoked_at is not None)


def _keys(request: Request) -> Keys:
    keys: Keys = request.app.state.keys
    return keys


def _secrets(request: Request) -> Secrets:
    secrets: Secrets = request.app.state.secrets
    return secrets
