"""How a request gets to its handler: where that costs more than the answer, there is a shorter way."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar, cast

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def reads_rows(handler: Callable[Given, Answer]) -> Callable[Given, Coroutine[Any, Any, Answer]]:
    """A plain handler with a ``request`` that reads a few rows or small files, and nothing else.

    Of a database in a file it reads where it is asked: there a reader never waits, and threads would spend more on
    handing the interpreter's lock to each other than on the answer. Another database may keep one waiting, so there it
    runs in a thread, as plain handlers do.
    """

    @wraps(handler)
    async def answered(*args: Given.args, **given: Given.kwargs) -> Answer:
        request = cast("Request", given["request"])
        if request.app.state.store.is_file:
            return handler(*args, **given)
        return await run_in_threadpool(handler, *args, **given)

    return answered


class Router(APIRouter):
    """A router that is looked through only where an address has a word of its.

    There are hundreds of routes: to try one after the other takes time. All of its routes are there once the modules
    are loaded.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        address = scope["path"]
        if self._words is not None and not any(word in address for word in self._words):
            return Match.NONE, {}
        return super().matches(scope)

    @cached_property
    def _words(self) -> frozenset[str] | None:
        """One of them stands in every address of a route here; None where a route may have any address."""
        words = [_last_word(path) for path in _paths(self.routes)]
        return frozenset(words) if all(words) else None


def _last_word(path: str) -> str:
    """The last part that is the same in every address of a route, as ``models`` in ``/models/{name}``."""
    return next((part for part in path.split("/")[::-1] if part and "{" not in part), "")


def _paths(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Of all routes, without the prefixes of the routers that they are in."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield str(getattr(route, "path", ""))
        else:
            yield from _paths(inner.routes)
