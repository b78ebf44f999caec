"""Which requests of a sampler are done, as a list that grows: clients with many ask for all news at once."""

import asyncio
from collections import deque
from time import time

MOST_NEWS = 8192
"""A client has at most 2,000 requests under way; older news is nobody's."""


class FinishedLog:
    """Ids of finished requests in their order, numbered; what a client has seen is forgotten, results are not held."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, str, bool]] = deque(maxlen=MOST_NEWS)
        # Numbers go on over a restart of the server: what a client saw before is older than anything now.
        self._count = int(time() * 1000)
        self._news = asyncio.Event()

    def add(self, request_id: str, failed: bool) -> None:
        self._count += 1
        self._entries.append((self._count, request_id, failed))
        self._news.set()
        self._news = asyncio.Event()

    async def after(self, seen: int, seconds: float, stopping: asyncio.Event) -> tuple[list[tuple[str, bool]], int]:
        """((id, whether it failed) since number ``seen``, the newest number); waits for the first if there is none."""
        while self._entries and self._entries[0][0] <= seen:
            self._entries.popleft()
        if not self._entries and seconds > 0:
            events = [asyncio.ensure_future(e.wait()) for e in (self._news, stopping)]
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for event in events:
                event.cancel()
        return [(request_id, failed) for _, request_id, failed in self._entries], self._count
