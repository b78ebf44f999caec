"""Whose operation is next: models take turns, each model's own operations in the order they came."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

AT_ONCE = 2
"""Operations handed to the engine: the one that runs, and the next, so that the engine need not wait for it."""

Job = Callable[[], Awaitable[None]]


class Turns:
    """A queue per model on one engine. A job runs after all earlier jobs of its model, and one at a time overall."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    def add(self, model: str, job: Job) -> None:
        """Queue a job. It must not raise: what goes wrong is its result."""
        self._queues.setdefault(model, deque()).append(job)
        self._fill()

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return sum(map(len, self._queues.values()))

    @property
    def busy(self) -> bool:
        return bool(self._running or self._queues)

    async def drained(self) -> None:
        """Return when nothing runs or waits."""
        while self._running:
            await asyncio.wait(self._running)

    def _fill(self) -> None:
        while len(self._running) < AT_ONCE and self._queues:
            model, queue = self._queues.popitem(last=False)
            task = asyncio.create_task(_run(queue.popleft()))
            if queue:
                self._queues[model] = queue
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._fill()


async def _run(job: Job) -> None:
    await job()
