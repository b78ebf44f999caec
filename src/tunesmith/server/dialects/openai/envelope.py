"""Refusals as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response
from starlette.exceptions import HTTPException

from tunesmith.server.dialects.refusals import Refusal, rendering
from tunesmith.server.routing import Router
from tunesmith.services.sessions.results import Failed

CODES: Mapping[int, str] = {
    401: "invalid_api_key",
    403: "permission_denied",
    413: "request_too_large",
    429: "rate_limit_exceeded",
}
CONTEXT = "context window"
"""In the text of a refusal for too many tokens."""


def error_body(refusal: Refusal) -> dict[str, Any]:
    """Statuses below 500 are for the request's author, the others for the server's."""
    code = CODES.get(refusal.status)
    if refusal.status == 404 and refusal.where == "model":
        code = "model_not_found"
    elif CONTEXT in refusal.text:
        code = "context_length_exceeded"
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    kind = "rate_limit_error" if refusal.status == 429 else kind
    return {"error": {"message": refusal.shown, "type": kind, "param": refusal.where, "code": code}}


def render(refusal: Refusal) -> Response:
    # Escaped, because half of a surrogate pair can be in a request's text but not in UTF-8.
    return Response(json.dumps(error_body(refusal)), refusal.status, dict(refusal.headers), "application/json")


def failure(failed: Failed) -> HTTPException:
    """A request that the engine could not carry out, to be raised."""
    return HTTPException(400 if failed.category == "user" else 500, failed.error)


def new_router() -> Router:
    return Router(route_class=rendering(render))
