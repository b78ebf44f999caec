"""Every route of the server, and requests to all of them at once."""

import asyncio
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tunesmith.server.app import create_app
from tunesmith.server.openapi import routes_of
from tunesmith.server.settings import ServerSettings

AT_ONCE = 8
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    """With its parameters in braces."""

    def filled(self, given: Mapping[str, str], other: str = "1") -> str:
        """The address with its parameters filled in."""
        return PLACE.sub(lambda found: given.get(found[1], other), self.path)

    @property
    def parameters(self) -> list[str]:
        return PLACE.findall(self.path)


def routes() -> list[Route]:
    """From the routing table of the app, so that a new route is walked by itself."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(ServerSettings(Path(folder)))
        found = [Route(method, r.path_format) for r in routes_of(app) for method in sorted(r.methods)]
        app.state.store.close()
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Answer:
    ask: Ask
    status: int
    text: str
    location: str


def send(base_url: str, asks: Iterable[Ask]) -> list[Answer]:
    """The answers, in the order of the requests. Addresses go out as they are, not tidied up."""

    async def all_of_them() -> list[Answer]:
        turns = asyncio.Semaphore(AT_ONCE)
        async with httpx2.AsyncClient(timeout=40, follow_redirects=False) as client:

            async def one(ask: Ask) -> Answer:
                async with turns:
                    url = httpx2.URL(base_url).copy_with(raw_path=ask.path.encode())
                    body = None if ask.method in ("GET", "HEAD", "OPTIONS", "DELETE") else ask.body
                    headers = {"content-type": "application/json", **dict(ask.headers)}
                    async with client.stream(ask.method, url, headers=headers, content=body) as answer:
                        text = b""
                        async for piece in answer.aiter_bytes():
                            text += piece
                            if len(text) > 100_000:
                                break
                        location = answer.headers.get("location", "")
                        return Answer(ask, answer.status_code, text.decode("utf-8", "replace"), location)

            return await asyncio.gather(*(one(ask) for ask in asks))

    return asyncio.run(all_of_them())
