"""Addresses below ``/api/v1`` that there are not, and methods that an address does not take: refused as all else is."""

import json
from difflib import get_close_matches
from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.refusals import Refusal, rendering
from tunesmith.server.dialects.tunesmith import envelope
from tunesmith.server.errors import Refused, refusal
from tunesmith.server.openapi import routes_of
from tunesmith.server.routing import Router


def _render(refusal: Refusal) -> Response:
    """Tinker's clients, whose addresses begin alike, read ``detail``."""
    body = {"detail": refusal.shown, **envelope.error_body(refusal)}
    return Response(json.dumps(body), refusal.status, dict(refusal.headers), "application/json")


router = Router(route_class=rendering(_render))
ROOT = "/api/v1/"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@router.api_route("/{address:path}", methods=METHODS, include_in_schema=False)
def unknown(request: Request, owner: Owner) -> None:
    """Comes last, so that it gets what no other route takes."""
    path, routes = request.url.path, [r for r in routes_of(request.app) if r.path_format.startswith(ROOT)]
    here = [route for route in routes if route.endpoint is not unknown and route.path_regex.match(path)]
    if here:
        raise _not_allowed(request.method, path, sorted({method for route in here for method in route.methods}))
    near = get_close_matches(path, {_like(route.path_format, path) for route in routes} - {path}, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise NotFound(path[:200], "no such address", f"{hint}All are in /openapi.json and docs/rest.md")


def _not_allowed(method: str, path: str, methods: list[str]) -> Refused:
    error = UserError(path[:200], f"does not take {method}", f"It takes {' and '.join(methods)}")
    return refusal(405, error, {"Allow": ", ".join(methods)})


def _like(template: str, path: str) -> str:
    """A route's address with the words of another where it takes any."""
    given = path.split("/")
    parts = template.split("/")
    words: list[Any] = [given[i] if part.startswith("{") and i < len(given) else part for i, part in enumerate(parts)]
    return "/".join(words)
