"""Who is asking: every route that names an ``Owner`` needs a good key."""

from typing import Annotated

from fastapi import Depends, Request

from tunesmith.core.errors import UserError
from tunesmith.server.errors import refusal
from tunesmith.services.keys import PREFIX, Keys

FIREWORKS = "fw_"
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
    """The key that was sent; ``fw_`` before its secret part is as good as ``tml-``.

    Tinker's client refuses other keys than ``tml-``, Fireworks' takes those for a stranger's and does without.
    """
    if "x-api-key" in request.headers:
        key = request.headers["x-api-key"].strip()
    else:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
    return key_of_text(key)


def key_of_text(text: str) -> str:
    """A key as people paste it."""
    key = text.strip()
    return PREFIX + key.removeprefix(FIREWORKS) if key.startswith(FIREWORKS) else key


Owner = Annotated[str, Depends(owner_of)]
