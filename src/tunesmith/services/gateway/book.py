"""Records of rollouts in memory, found by their tags: calls of a model, and lines of log that carry a status.

A book is bounded in number, size and age; the oldest record goes first.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Lock
from typing import Any, Generic, TypeVar

from tunesmith.core.types import Floats, Ints

MOST_TRACES = 2_000
MOST_LOGS = 20_000
MOST_BYTES = 64 << 20
"""Of the traces of a book, and again of its logs."""
HOURS = 24.0
RUNNING = 101
"""Of eval-protocol's status codes, the one after which another follows."""
ROLLOUT = "rollout_id:"
"""Before the id of a rollout, as a tag."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One call of a model and its answer."""

    tags: tuple[str, ...]
    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    reply: dict[str, Any]
    """The assistant's message."""
    finish_reason: str
    prompt: Ints
    """[P] ids."""
    tokens: Ints
    """[C] ids that were sampled."""
    logprobs: Floats
    """[C] nats."""
    size: int
    """Bytes, roughly."""
    version: int = 0
    """Of the weights, where they are being trained."""
    id: str = field(default_factory=lambda: token_hex(16))
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Log:
    """A line that a remote server wrote about a rollout."""

    tags: tuple[str, ...]
    program: str
    message: str
    severity: str
    status: dict[str, Any] | None
    """code, message and details, where the line tells one."""
    extras: dict[str, Any]
    size: int
    at: float = field(default_factory=time.time)

    @property
    def code(self) -> int | None:
        return None if self.status is None else int(self.status["code"])


R = TypeVar("R", Trace, Log)


class Shelf(Generic[R]):
    """Records of one kind, oldest first; any thread may add and look."""

    def __init__(self, most: int, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._most, self._most_bytes, self._clock = most, most_bytes, clock
        self._all: deque[R] = deque()
        self._tagged: dict[str, deque[R]] = defaultdict(deque)
        self._size = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, record: R) -> None:
        with self._lock:
            self._all.append(record)
            self._size += record.size
            for tag in record.tags:
                self._tagged[tag].append(record)
            oldest = self._clock() - 3600 * HOURS
            while self._all and (
                len(self._all) > self._most or self._size > self._most_bytes or self._all[0].at < oldest
            ):
                self._drop()

    def find(self, tags: Iterable[str], hours: float = HOURS) -> list[R]:
        """Those that have all of the tags, oldest first; none for no tags."""
        since = self._clock() - 3600 * min(hours, HOURS)
        wanted = set(tags)
        with self._lock:
            shortest = min((self._tagged.get(tag, deque()) for tag in wanted), key=len, default=deque[R]())
            return [record for record in shortest if record.at >= since and wanted <= set(record.tags)]

    def _drop(self) -> None:
        record = self._all.popleft()
        self._size -= record.size
        for tag in record.tags:
            self._tagged[tag].popleft()
            if not self._tagged[tag]:
                del self._tagged[tag]


class Book:
    """What the rollouts of one account, or of one job, left behind."""

    def __init__(self) -> None:
        self.traces: Shelf[Trace] = Shelf(MOST_TRACES)
        self.logs: Shelf[Log] = Shelf(MOST_LOGS)

    def status(self, rollout: str) -> Log | None:
        """The line that tells how a rollout stands: the newest that ends it, else the newest with a status."""
        told = [log for log in self.logs.find((ROLLOUT + rollout,)) if log.status is not None]
        ends = [log for log in told if log.code != RUNNING] or told
        return ends[-1] if ends else None


class Books:
    """A book for each account, begun at its first record."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}

    def of(self, owner: str) -> Book:
        return self._books.setdefault(owner, Book())


def tags_of(ids: Mapping[str, str]) -> tuple[str, ...]:
    """``{"rollout_id": "r1"}`` as tags; ids that are empty are left out."""
    return tuple(f"{name}:{value}" for name, value in ids.items() if value)
