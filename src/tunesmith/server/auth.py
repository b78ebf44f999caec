"""Who is asking: every route that names an ``Owner`` needs a good key."""

from typing import Annotated

from fastapi import Depends, Request

from tunesmith.core.errors import Denied, UserError
from tunesmith.server.errors import refusal
from tunesmith.services.keys import PREFIX, Keys, Scope

FIREWORKS = "fw_"
ADMINISTER = ("/keys", "/apiKeys", "/secrets", "/users")
"""In addresses that give or take rights."""
CHANGES = (":validateUpload",)
"""Ends of addresses that a wire reads with GET although they change something."""
INFER = (
    *(
        "/completions",
        "/messages",
        "/asample",
        "/create_sampling_session",
        "/join_sampling_session",
        "/create_sampling_route",
    ),
    *("/create_session", "/session_heartbeat", "/finish", "/client/config", "/telemetry"),
    "/logs",
    *("/retrieve_future", "/retrieve_futures", "/cancel_future"),
)
"""Ends of addresses that a client needs who only samples."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tunesmith"'}


async def owner_of(request: Request) -> str:
    """The owner of a request's key, from ``x-api-key`` or ``Authorization: Bearer``; 401 without a good one."""
    key = key_sent(request)
    if not key:
        missing = UserError("x-api-key", "no key was sent", "Set TINKER_API_KEY, or make one: tunesmith keys create")
        raise refusal(401, missing, _CHALLENGE)
    keys: Keys = request.app.state.keys
    grant = keys.check(key)
    if grant is None:
        wrong = UserError("x-api-key", "unknown, revoked or expired key", "Make another with: tunesmith keys create")
        raise refusal(401, wrong, _CHALLENGE)
    needed = scope_for(request.method, request.url.path)
    if not grant.allows(needed):
        problem = f"a key of the scope {grant.scope!r} may not do this, which needs {needed!r}"
        raise Denied("x-api-key", problem, "Use another key, or make one with: tunesmith keys create --scope")
    return grant.owner


def scope_for(method: str, path: str) -> Scope:
    """The scope that a request needs: by its method, and by the end of its address."""
    if method in ("GET", "HEAD") and not path.endswith(CHANGES):
        return "read"
    if any(word in path for word in ADMINISTER):
        return "admin"
    return "infer" if method == "POST" and path.endswith(INFER) else "train"


def key_sent(request: Request) -> str:
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
