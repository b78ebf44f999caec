"""The one stream of a page: pieces of HTML by the id of the element that they replace, sent when they change."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from tunesmith.core.errors import UserError
from tunesmith.server.web.pages import HEADERS

EVERY_S = 1.0
ALIVE_EVERY_S = 15.0
"""A sign of life, so that a browser notices a server that is gone."""

Key = Callable[[], Hashable]
"""Cheap, and another value whenever what is seen may be another."""
Look = Callable[[], dict[str, str]]


def stream(request: Request, key: Key, look: Look) -> Response:
    """Look every second in a thread; a browser that comes back gets everything first."""
    return StreamingResponse(
        _events(request, key, look), media_type="text/event-stream", headers={**HEADERS, "X-Accel-Buffering": "no"}
    )


def stamp(*files: Path) -> tuple[int, ...]:
    """When files were changed last; 0 for those that are not there."""
    return tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)


async def _events(request: Request, key: Key, look: Look) -> AsyncIterator[str]:
    stopping: asyncio.Event = request.app.state.stopping
    sent: dict[str, str] = {}
    known: Hashable = None
    silent = ALIVE_EVERY_S
    while not stopping.is_set() and not await request.is_disconnected():
        changed: dict[str, str] = {}
        try:
            now = await asyncio.to_thread(key)
            if now != known:
                seen = await asyncio.to_thread(look)
                changed = {name: text for name, text in seen.items() if sent.get(name) != text}
                known, sent = now, seen
        except UserError:
            yield "event: gone\ndata: \n\n"
            return
        if changed:
            yield f"data: {json.dumps(changed)}\n\n"
        elif silent >= ALIVE_EVERY_S:
            yield ": alive\n\n"
        silent = 0.0 if changed or silent >= ALIVE_EVERY_S else silent + EVERY_S
        try:
            await asyncio.wait_for(stopping.wait(), EVERY_S)
        except TimeoutError:
            continue
