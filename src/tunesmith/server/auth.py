"""Who is asking: every route that names an ``Owner`` needs a good key."""

from typing import Annotated

from fastapi import Depends, Request

from tunesmith.core.errors import UserError
from tunesmith.server.errors import refusal
from tunesmith.services.keys import Keys

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tunesmith"'}


async def owner_of(request: Request) -> str:
    """The owner of a request's key, from ``x-api-key`` or ``Authorization: Bearer``; 401 without a good one."""
    key = _key_of(request)
    if not key:
        missing = UserError("x-api-key", "no key was sent", "Set TINKER_API_KEY, or make one: tunesmith keys create")
        raise refusal(401, missing, _CHALLENGE)
    keys: Keys = request.app.state.keys
    owner = keys.owner_of(key)
    if owner is None:
        wrong = UserError("x-api-key", "unknown or revoked key", "Make another with: tunesmith keys create")
        raise refusal(401, wrong, _CHALLENGE)
    return owner


def _key_of(request: Request) -> str:
    if "x-api-key" in request.headers:
        return request.headers["x-api-key"].strip()
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


Owner = Annotated[str, Depends(owner_of)]
