"""``/dashboard/login``: a link that works once, or a key; and the way out."""

import asyncio

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.errors import UserError
from tunesmith.server.auth import key_of_text
from tunesmith.server.web.forms import Form, read_pairs
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import COOKIE, PREFIX, check_host, check_origin, cookie, is_ours
from tunesmith.services.keys import Keys
from tunesmith.services.logins import Logins

router = new_router()
HOME = f"{PREFIX}/fine-tuning"


@router.get("/login")
def login(request: Request, token: str = "", back: str = "") -> Response:
    """With a token, in; without, the form for a key."""
    check_host(request)
    logins: Logins = request.app.state.logins
    if token:
        return _in(request, logins.open_link(token), back)
    return page(request, "login.html", None, back=_safe(back), problem="")


@router.post("/login")
async def login_with_key(request: Request) -> Response:
    check_host(request)
    check_origin(request)
    fields = dict(await read_pairs(request))
    keys: Keys = request.app.state.keys
    logins: Logins = request.app.state.logins
    owner = await asyncio.to_thread(keys.owner_of, key_of_text(fields.get("key", "")))
    back = fields.get("back", "")
    if owner is None:
        wrong = UserError("key", "unknown or revoked", "Make another with: tunesmith keys create")
        return page(request, "login.html", None, 403, back=_safe(back), problem=str(wrong))
    return _in(request, await asyncio.to_thread(logins.new_session, owner), back)


@router.post("/logout")
async def logout(request: Request, _form: Form) -> Response:
    logins: Logins = request.app.state.logins
    await asyncio.to_thread(logins.end, request.cookies.get(COOKIE, ""))
    return RedirectResponse(f"{PREFIX}/login", 303, {**HEADERS, **cookie("", _secure(request))})


def _in(request: Request, session: str, back: str) -> Response:
    return RedirectResponse(_safe(back), 303, {**HEADERS, **cookie(session, _secure(request))})


def _safe(back: str) -> str:
    """Only our own pages are gone back to."""
    return back if is_ours(back) else HOME


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
