"""Who looks at a page: a session in a cookie. Requests are answered only under names that are ours, and changes only
where they come from our own pages."""

import hashlib
import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.errors import refusal
from tunesmith.services.logins import SESSION_GOOD_FOR, Logins

COOKIE = "tunesmith_session"
PREFIX = "/dashboard"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in."""

    owner: str
    session: str

    @property
    def csrf(self) -> str:
        """What every form of this session carries, and nobody else can know."""
        return hashlib.sha256(f"csrf:{self.session}".encode()).hexdigest()


class LoginNeeded(HTTPException):
    """Answered with the login page."""

    def __init__(self, back: str) -> None:
        super().__init__(303, "log in first", {"Location": f"{PREFIX}/login?back={quote(back, safe='')}"})


def check_host(request: Request) -> None:
    """Refuse names that are not ours: a stranger's name may be made to lead to this machine.

    Raises:
        HTTPException: 403 for a host that is no address, not localhost and not one that the server was told.
    """
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if host in request.app.state.settings.page_hosts or _is_address(host):
        return
    mend = f"Open the page by its address, or start the server with --dashboard-host {host[:80]}"
    raise refusal(403, UserError("host", f"{host[:80]!r} is no name of this server", mend))


def visitor_of(request: Request) -> Visitor:
    """Whose session the request's cookie is.

    Raises:
        LoginNeeded: there is none.
    """
    check_host(request)
    logins: Logins = request.app.state.logins
    session = request.cookies.get(COOKIE, "")
    owner = logins.owner_of(session) if session else None
    if owner is None:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        raise LoginNeeded(asked if request.method == "GET" else f"{PREFIX}/")
    return Visitor(owner, session)


def known_visitor(request: Request) -> Visitor | None:
    """The same for pages that everybody may see; None where there is no session."""
    try:
        return visitor_of(request)
    except HTTPException:
        return None


Seen = Annotated[Visitor, Depends(visitor_of)]


def check_origin(request: Request) -> None:
    """Refuse changes that another site's page asks for.

    Raises:
        HTTPException: 403.
    """
    origin = request.headers.get("origin")
    from_us = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not from_us or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise refusal(403, UserError("origin", "the request comes from another site", "Use the page of this server"))


def check_token(visitor: Visitor, token: str) -> None:
    """
    Raises:
        HTTPException: 403 for a form that is not of this session.
    """
    if not hmac.compare_digest(visitor.csrf.encode(), token.encode("utf-8", "replace")):
        raise refusal(403, UserError("csrf", "the form is not of this session", "Reload the page and try again"))


def is_ours(address: str) -> bool:
    """Whether an address without a host is one of our pages."""
    return address.startswith(f"{PREFIX}/") and "\\" not in address and address.isprintable()


def cookie(session: str, secure: bool) -> dict[str, str]:
    """The header that makes a browser keep a session; an empty one makes it forget."""
    age = int(SESSION_GOOD_FOR.total_seconds()) if session else 0
    parts = [f"{COOKIE}={session}", f"Path={PREFIX}", f"Max-Age={age}", "HttpOnly", "SameSite=Lax"]
    return {"Set-Cookie": "; ".join(parts + (["Secure"] if secure else []))}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
