"""Routers that are looked through only where an address has a word of theirs.

There are hundreds of routes: to try one after the other would cost a request more than its answer does.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from fastapi import APIRouter
from starlette.routing import BaseRoute, Match
from starlette.types import Scope


class Router(APIRouter):
    """A router that has all of its routes once the modules are loaded."""

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
