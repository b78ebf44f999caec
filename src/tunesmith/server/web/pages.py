"""How a page is made: a template, a view, headers that let a browser load nothing but our own files."""

from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.refusals import Refusal, refusal_of
from tunesmith.server.errors import AWAY, circumstances, explain
from tunesmith.server.routing import Router
from tunesmith.server.web import assets, words
from tunesmith.server.web.row_examples import ROW_EXAMPLES
from tunesmith.server.web.visitor import PREFIX, LoginNeeded, Visitor, is_ours, known_visitor

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SECTIONS = (
    ("Fine-tuning", "fine-tuning"),
    ("Evaluations", "evaluations"),
    ("Datasets", "datasets"),
    ("Evaluators", "evaluators"),
    ("Models", "models"),
    ("Deployments", "deployments"),
    ("Keys", "keys"),
    ("Secrets", "secrets"),
)
"""(name, first part of its addresses) of the navigation."""


@cache
def environment() -> Environment:
    """The templates; text in them is escaped."""
    made = Environment(
        loader=PackageLoader("tunesmith.server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": assets.address, "missing_assets": assets.missing, "sections": SECTIONS, "at": PREFIX}
    made.globals |= {"row_examples": ROW_EXAMPLES}
    made.filters |= words.FILTERS
    return made


def page(request: Request, template: str, visitor: Visitor | None, status: int = 200, **view: Any) -> Response:
    """A whole page, with the navigation of whoever is logged in."""
    section = request.url.path.removeprefix(PREFIX).strip("/").partition("/")[0]
    text = fragment(template, visitor=visitor, section=section, **view)
    return HTMLResponse(text, status, HEADERS)


def fragment(template: str, **view: Any) -> str:
    """A piece of a page."""
    return environment().get_template(template).render(**view)


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """Refusals are pages too."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except LoginNeeded as e:
                return Response(status_code=303, headers={**HEADERS, **(e.headers or {})})
            except (UserError, HTTPException) as e:
                return _refused(request, refusal_of(e))
            except RequestValidationError as e:
                return _refused(request, refusal_of(explain(e, "request")))
            except (*AWAY, OSError) as e:
                # Who is looking may be what the database cannot say.
                return _told(request, None, refusal_of(circumstances(e)))

        return answered


def new_router() -> Router:
    return Router(prefix=PREFIX, route_class=Route, include_in_schema=False)


def _refused(request: Request, refused: Refusal) -> Response:
    return _told(request, known_visitor(request), refused)


def _told(request: Request, visitor: Visitor | None, refused: Refusal) -> Response:
    return page(request, "refused.html", visitor, refused.status, refused=refused, back=_page_before(request))


def _page_before(request: Request) -> str:
    """The page of ours that led here; empty where none did."""
    try:
        before = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    address = before.path + (f"?{before.query}" if before.query else "")
    ours = before.netloc == request.headers.get("host") and is_ours(address)
    return address if ours and before.path != request.url.path else ""
