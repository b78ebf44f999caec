"""Refusals as this wire's clients read them: ``detail``, a google.rpc status and an inference error in one."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from tunesmith.server.dialects.refusals import Refusal, rendering
from tunesmith.server.errors import LONGEST_DETAIL

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


def error_body(status: int, text: str) -> dict[str, Any]:
    """What each of the clients looks for, beside each other."""
    shown = text if len(text) <= LONGEST_DETAIL else text[:LONGEST_DETAIL] + " …"
    number, name = CODES.get(status, (2, "UNKNOWN"))
    error = {"object": "error", "type": name.lower(), "code": name, "message": shown}
    return {"detail": shown, "code": number, "message": shown, "details": [], "error": error}


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    # Escaped, because half of a surrogate pair can be in a request's text but not in UTF-8.
    return Response(json.dumps(error_body(status, text)), status, dict(headers or {}), "application/json")


def _render(refusal: Refusal) -> Response:
    return refused(refusal.status, refusal.text, refusal.headers)


def new_router() -> APIRouter:
    return APIRouter(route_class=rendering(_render))
