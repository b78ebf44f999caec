"""Every request has an id: in the header ``x-request-id`` of its answer, and in what is said of a refusal."""

from secrets import token_hex

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"


class RequestIds:
    """Gives each request its id. Ours, never the client's: it goes into logs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req-{token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, named)


def id_of(request: Request) -> str:
    """The id of a request; empty where it did not come through the app."""
    return str(getattr(request.state, "request_id", ""))
