"""Refusals of our own wire: ``{"error": {"where", "problem", "mend", "kind", "request_id"}}``."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

from tunesmith.server.dialects.refusals import Refusal, rendering
from tunesmith.server.routing import Router

KINDS: Mapping[int, str] = {
    401: "unauthenticated",
    403: "denied",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    429: "busy",
}
"""Kind of a refusal that has a status of its own; others have the kind of their error."""
CONFLICT = 409
"""Of an error of the kind conflict. No client of this wire sends a request again by itself."""


def error_body(refusal: Refusal) -> dict[str, Any]:
    error = refusal.error
    kind = KINDS.get(refusal.status, "invalid" if error is None else error.kind)
    where, problem, mend = ("request", refusal.text, "") if error is None else (error.where, error.problem, error.mend)
    said = {"where": where, "problem": problem, "mend": mend, "kind": kind, "request_id": refusal.request_id}
    return {"error": {name: value[:20_000] for name, value in said.items()}}


def render(refusal: Refusal) -> Response:
    body = error_body(refusal)
    status = CONFLICT if body["error"]["kind"] == "conflict" else refusal.status
    headers = {"x-should-retry": "false"} if status == CONFLICT else {}
    # Escaped, because half of a surrogate pair can be in a request's text but not in UTF-8.
    return Response(json.dumps(body), status, headers | dict(refusal.headers), "application/json")


def new_router(tag: str) -> Router:
    return Router(route_class=rendering(render), tags=[tag])
