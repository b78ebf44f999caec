"""Whether requests would be carried out now (``/readyz``): the database takes a write, the disk a file, engines live.

Unlike ``/healthz``, which answers as long as the process does: a server that isn't ready is to be left alone, not
restarted.
"""

import asyncio
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tunesmith.server.routing import Router
from tunesmith.services.store import Store

PATIENCE_S = 4.0
"""What does not answer within it is away; a locked database is given up earlier."""
FRESH_S = 1.0
"""An answer serves everybody who asks within so long: anybody may ask."""
ROOM_BYTES = 1 << 20
"""A disk that has no place for so much is full."""
PROBE = ".room"
router = Router()


class Readiness:
    """Looks when asked, once for all who ask at the same time."""

    def __init__(self, store: Store, data_dir: Path, stopping: asyncio.Event) -> None:
        self._store, self._data_dir, self._stopping = store, data_dir, stopping
        self._fallen: Callable[[], int] = int
        self._look: asyncio.Task[list[str]] | None = None
        self._said: list[str] = []
        self._said_at = -math.inf

    def watch(self, fallen: Callable[[], int]) -> None:
        """Ask how many engines died by themselves, and have those started again."""
        self._fallen = fallen

    async def problems(self) -> list[str]:
        """What is away, in words; empty when the server is ready."""
        if self._stopping.is_set():
            return ["the server is stopping"]
        # Without their names, because anybody may ask.
        engines = ["an engine died and starts again"] if self._fallen() else []
        return await self._of_storage() + engines

    async def _of_storage(self) -> list[str]:
        if monotonic() - self._said_at < FRESH_S:
            return self._said
        # One that hangs is waited for, not joined by more: they would take all threads.
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_now())
        done, _ = await asyncio.wait([look := self._look], timeout=PATIENCE_S)
        return look.result() if done else ["the database or the disk does not answer"]

    async def _look_now(self) -> list[str]:
        self._said = await asyncio.to_thread(self._try_storage)
        self._said_at = monotonic()
        return self._said

    def _try_storage(self) -> list[str]:
        return [*self._of_database(), *self._of_disk()]

    def _of_database(self) -> Iterator[str]:
        try:
            with self._store.begin() as db:
                db.connection()
        except (DBAPIError, PoolTimeout):
            yield "the database takes no writes"

    def _of_disk(self) -> Iterator[str]:
        file = self._data_dir / PROBE
        try:
            with file.open("wb") as room:
                os.posix_fallocate(room.fileno(), 0, ROOM_BYTES)
        except OSError as e:
            yield f"the disk takes no files: {os.strerror(e.errno or 0)}"
        finally:
            with suppress(OSError):
                file.unlink()


def install(app: FastAPI, readiness: Readiness) -> None:
    app.state.readiness = readiness
    app.include_router(router)


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """200 while requests would be carried out, 503 with the reasons while they would not."""
    readiness: Readiness = request.app.state.readiness
    problems = await readiness.problems()
    if problems:
        return JSONResponse({"status": "not ready", "because": problems}, 503, {"Retry-After": "1"})
    return JSONResponse({"status": "ready"})
