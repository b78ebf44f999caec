"""Requests that take long: each has an id, a result some time later, and is answered as often as it is asked for."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

from tunesmith.core.errors import Denied, NotFound
from tunesmith.services.sessions.results import Result

KEPT_AFTER_FETCH = 90.0
"""Seconds: a client that lost the answer may ask again."""
KEPT_UNFETCHED = 6 * 3600.0


@dataclass(slots=True)
class Future:
    """One request. ``result`` is set once."""

    request_id: str
    owner: str
    result: Result | None = None
    begun: bool = False
    finished_at: float = 0.0
    fetched_at: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, result: Result) -> None:
        self.result, self.finished_at = result, monotonic()
        self.done.set()


class Futures:
    """All requests of all clients, by id."""

    def __init__(self) -> None:
        self._all: dict[str, Future] = {}

    def open(self, request_id: str, owner: str) -> Future:
        """A new request; ids are never used twice."""
        self._all[request_id] = Future(request_id, owner)
        return self._all[request_id]

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._all

    def find(self, request_id: str, owner: str) -> Future:
        """
        Raises:
            NotFound: no such request, or its result was fetched long ago.
            Denied: somebody else's.
        """
        future = self._all.get(request_id)
        if future is None:
            raise NotFound(f"request {request_id}", "is not known, or its result is no longer kept", "Send it again")
        if future.owner != owner:
            raise Denied(
                f"request {request_id}", "You do not have access to this request", "Use the key it was sent with"
            )
        return future

    async def wait(self, request_id: str, owner: str, seconds: float, stopping: asyncio.Event) -> Future:
        """The request, when it is finished, after ``seconds``, or when the server stops: whichever comes first."""
        future = self.find(request_id, owner)
        if future.result is None:
            events = [asyncio.ensure_future(e.wait()) for e in (future.done, stopping)]
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for event in events:
                event.cancel()
        if future.result is not None:
            future.fetched_at = monotonic()
        return future

    def pending(self) -> int:
        return sum(f.result is None for f in self._all.values())

    def unfetched(self) -> Iterable[Future]:
        """Finished, and asked for by nobody yet."""
        return (f for f in self._all.values() if f.result is not None and not f.fetched_at)

    def prune(self) -> None:
        """Forget results that were fetched, or that nobody came for."""
        at = monotonic()
        old = [
            f.request_id
            for f in self._all.values()
            if f.result is not None
            and ((f.fetched_at and at - f.fetched_at > KEPT_AFTER_FETCH) or at - f.finished_at > KEPT_UNFETCHED)
        ]
        for request_id in old:
            del self._all[request_id]
