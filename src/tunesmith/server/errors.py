"""What a refused or failed request is answered: a status, and ``{"detail": "<text>"}`` for a person to read.

409 is for nothing that lasts: clients take it as a request to try again.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.core.durable import is_disk_full
from tunesmith.core.errors import Kind, UserError

STATUS: dict[Kind, int] = {"invalid": 400, "not_found": 404, "conflict": 400, "denied": 403, "stopped": 400}
LONGEST_DETAIL = 2000
"""Characters of a detail; what a client sent may be quoted in it, and may be long."""
_REASONS = {404: "no such address", 405: "this address does not take {method}"}
AWAY = (OperationalError, PoolTimeout)
"""What a database raises that is locked, full, restarted or gone."""
_log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Answer every refusal of an app in the one shape."""
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(HTTPException, _by_status)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    for kind in (*AWAY, OSError):
        app.add_exception_handler(kind, _by_circumstances)
    app.add_middleware(LastResort)


class Refused(HTTPException):
    """A refusal with a status of its own."""

    def __init__(self, status: int, error: UserError, headers: Mapping[str, str]) -> None:
        super().__init__(status, str(error), dict(headers))
        self.error = error


def refusal(status: int, error: UserError, headers: Mapping[str, str] | None = None) -> Refused:
    """An error that is answered with a status of its own, for what is not about the request's content."""
    return Refused(status, error, headers or {})


def circumstances(error: Exception) -> Refused:
    """The refusal for what is neither the client's fault nor ours, and passes; another error is raised again."""
    if isinstance(error, AWAY):
        cause = getattr(error, "orig", None) or error
        _log.warning("the database does not answer: %s", str(cause).strip().partition("\n")[0])
        away = UserError("database", "does not answer", "Send the request again in a moment")
        return refusal(503, away, {"Retry-After": "1"})
    if isinstance(error, OSError) and is_disk_full(error):
        _log.warning("the disk is full: %s", error)
        full = UserError("disk", "is full", "Free some space on the server, then send the request again")
        return refusal(507, full, {"Retry-After": "60", "x-should-retry": "false"})
    raise error


def detail(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape."""
    shown = text if len(text) <= LONGEST_DETAIL else text[:LONGEST_DETAIL] + " …"
    # Escaped, because half of a surrogate pair can be in a request's text but not in UTF-8.
    body = json.dumps({"detail": shown})
    return Response(body, status, dict(headers or {}), "application/json")


def explain(error: ValidationError | RequestValidationError, where: str) -> UserError:
    """Name the field, what was given and what is wrong with it; the first problem speaks for all."""
    problems: list[Any] = list(error.errors())
    first = problems[0]
    place = ".".join(map(str, first["loc"])) or where
    if first["type"] == "json_invalid":
        return UserError(where, f"is not JSON: {first['ctx']['error']}", "Send one JSON object in UTF-8")
    problem = str(first["msg"]).removeprefix("Value error, ")
    given = "" if first["type"] == "missing" else f" (got {_short(first.get('input'))})"
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    mend = "Add the field" if first["type"] == "missing" else "Send a value of that kind"
    return UserError(place, f"{problem}{given}{more}", mend)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError), "registered for UserError"
    return detail(STATUS[error.kind], str(error))


async def _by_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for HTTPException"
    text = str(error.detail)
    if error.status_code in _REASONS and text in ("Not Found", "Method Not Allowed"):
        reason = _REASONS[error.status_code].format(method=request.method)
        text = f"{request.url.path}: {reason}. See docs/server.md for those that there are"
    return detail(error.status_code, text, error.headers)


async def _by_circumstances(request: Request, error: Exception) -> Response:
    return await _by_status(request, circumstances(error))


async def _wrong_parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for RequestValidationError"
    return detail(400, str(explain(error, "request")))


class LastResort:
    """What nobody foresaw: the log has all of it, the client a number to find it by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\0" in scope["path"]:
            # No name has one, and the system's calls for files raise at it.
            await detail(404, "address: has a NUL in it. Leave it out")(scope, receive, send)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            # The client is gone; there is nobody to answer and nothing to mend.
            return
        except Exception:
            number = uuid4().hex[:12]
            _log.exception("internal error %s in %s %s", number, scope["method"], scope["path"])
            if begun:
                raise
            await detail(500, f"internal error {number}; see the server's log")(scope, receive, send)
