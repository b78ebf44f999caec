"""Routes that answer what they refuse in the shape of their own wire."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.errors import AWAY, LONGEST_DETAIL, STATUS, Refused, circumstances, explain
from tunesmith.server.request_ids import id_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is to be told."""

    status: int
    text: str
    where: str | None = None
    """The field or name that is at fault, where one is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    error: UserError | None = None
    """Place, problem and mend one by one, where they are known."""
    request_id: str = ""

    @property
    def shown(self) -> str:
        """The text, cut where a client has sent too much to be quoted."""
        return self.text if len(self.text) <= LONGEST_DETAIL else self.text[:LONGEST_DETAIL] + " …"


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Render = Callable[[Refusal], Response]


def rendering(render: Render) -> type[APIRoute]:
    """The class of routes whose refusals look as ``render`` makes them."""

    class Route(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def answered(request: Request) -> Response:
                try:
                    return await handle(request)
                except (UserError, HTTPException) as e:
                    return render(refusal_of(e, id_of(request)))
                except RequestValidationError as e:
                    return render(refusal_of(explain(e, "request"), id_of(request)))
                except (*AWAY, OSError) as e:
                    return render(refusal_of(circumstances(e), id_of(request)))

            return answered

    return Route


def refusal_of(error: UserError | HTTPException, request_id: str = "") -> Refusal:
    if isinstance(error, HTTPException):
        known = error.error if isinstance(error, Refused) else None
        return Refusal(error.status_code, str(error.detail), None, error.headers or {}, known, request_id)
    return Refusal(STATUS[error.kind], str(error), error.where, {}, error, request_id)
