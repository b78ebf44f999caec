"""Refusals as this wire's clients read them: ``detail``, a google.rpc status and an inference error in one."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

from tunesmith.core.errors import Kind
from tunesmith.server.dialects.refusals import Refusal, rendering
from tunesmith.server.errors import LONGEST_DETAIL
from tunesmith.server.routing import Router

CODES: Mapping[int, tuple[int, str]] = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    404: (5, "NOT_FOUND"),
    409: (6, "ALREADY_EXISTS"),
    413: (8, "RESOURCE_EXHAUSTED"),
    429: (8, "RESOURCE_EXHAUSTED"),
    500: (13, "INTERNAL"),
}
"""HTTP status -> number and name of google.rpc.Code."""
PRECONDITION = (9, "FAILED_PRECONDITION")
"""Of what is in the wrong state; asking again does not change it."""
DEFINITIVE = (400, 401, 403, 404, 409, 413)
"""Clients retry a 409 unless they are told not to; none of these is answered otherwise the next time."""
INFO = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "domain": "training.fireworks.ai",
    "metadata": {"version": "1", "source": "managed"},
}


def error_body(status: int, text: str, kind: Kind = "invalid") -> dict[str, Any]:
    """What each of the clients looks for, beside each other."""
    shown = text if len(text) <= LONGEST_DETAIL else text[:LONGEST_DETAIL] + " …"
    number, name = PRECONDITION if kind == "conflict" and status == 400 else CODES.get(status, (2, "UNKNOWN"))
    error = {"object": "error", "type": name.lower(), "code": name, "message": shown}
    return {"detail": shown, "code": number, "message": shown, "details": [{**INFO, "reason": name}], "error": error}


def refused(status: int, text: str, headers: Mapping[str, str] | None = None, kind: Kind = "invalid") -> Response:
    said = dict(headers or {})
    if status in DEFINITIVE:
        said.setdefault("x-should-retry", "false")
    # Escaped, because half of a surrogate pair can be in a request's text but not in UTF-8.
    return Response(json.dumps(error_body(status, text, kind)), status, said, "application/json")


def _render(refusal: Refusal) -> Response:
    kind = "invalid" if refusal.error is None else refusal.error.kind
    return refused(refusal.status, refusal.text, refusal.headers, kind)


def new_router() -> Router:
    return Router(route_class=rendering(_render))
