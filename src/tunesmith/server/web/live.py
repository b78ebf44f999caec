"""The one stream of a page: pieces of HTML by the id of the element that they replace, sent when they change."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from tunesmith.core.errors import UserError
from tunesmith.server.web.pages import HEADERS

EVERY_S = 1.0
ALIVE_EVERY_S = 15.0
"""A sign of life, so that a browser notices a server that is gone."""

Look = Callable[[], Awaitable[dict[str, str]]]


def stream(request: Request, look: Look) -> Response:
    """Look every second; a browser that comes back gets everything first."""
    return StreamingResponse(
        _events(request, look), media_type="text/event-stream", headers={**HEADERS, "X-Accel-Buffering": "no"}
    )


async def _events(request: Request, look: Look) -> AsyncIterator[str]:
    stopping: asyncio.Event = request.app.state.stopping
    sent: dict[str, str] = {}
    silent = ALIVE_EVERY_S
    while not stopping.is_set() and not await request.is_disconnected():
        try:
            seen = await look()
        except UserError:
            yield "event: gone\ndata: \n\n"
            return
        changed = {name: text for name, text in seen.items() if sent.get(name) != text}
        sent |= changed
        if changed:
            yield f"data: {json.dumps(changed)}\n\n"
        elif silent >= ALIVE_EVERY_S:
            yield ": alive\n\n"
        silent = 0.0 if changed or silent >= ALIVE_EVERY_S else silent + EVERY_S
        try:
            await asyncio.wait_for(stopping.wait(), EVERY_S)
        except TimeoutError:
            continue
