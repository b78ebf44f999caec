"""Where requests about a rollout go: to the worker of the job that makes it, or to the account's own book."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from tunesmith.core.errors import Denied, NotFound
from tunesmith.server.auth import key_sent, owner_of
from tunesmith.services.gateway.book import Book
from tunesmith.services.gateway.exchange import exchange
from tunesmith.services.gateway.held import Rollouts


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks about a rollout."""

    owner: str
    only: str = ""
    """The one rollout that its key opens; empty for a key of the account."""


async def caller_of(request: Request) -> Caller:
    """The owner of the key, which may be one of the account's or the key of a single rollout."""
    rollouts: Rollouts = request.app.state.rollouts
    only = await asyncio.to_thread(rollouts.opened_by, key_sent(request))
    if only:
        held = await asyncio.to_thread(rollouts.find, only)
        if held is not None:
            return Caller(held.owner, only)
    return Caller(await owner_of(request))


AnyCaller = Annotated[Caller, Depends(caller_of)]


@dataclass(frozen=True, slots=True)
class Desk:
    """What is to be asked about a rollout."""

    owner: str
    book: Book
    socket: str = ""
    """Of the worker that makes the rollout, where a job's does: it is asked itself."""


async def desk_of(request: Request, caller: Caller, rollout: str) -> Desk:
    """
    Raises:
        NotFound: another account's rollout, or one of a job that has ended.
        Denied: the key is for another rollout.
    """
    if caller.only and rollout != caller.only:
        raise Denied("x-api-key", "is the key of another rollout", "Use the one that came with this rollout's /init")
    held = await asyncio.to_thread(request.app.state.rollouts.find, rollout)
    if held is None:
        return Desk(caller.owner, request.app.state.books.of(caller.owner))
    if held.owner != caller.owner or not held.socket:
        raise _gone(rollout)
    return Desk(caller.owner, request.app.state.books.of(caller.owner), held.socket)


async def relayed(request: Request, desk: Desk, rollout: str, body: bytes = b"") -> Response:
    """The worker's own answer.

    Args:
        body: of the request, which was read.

    Raises:
        NotFound: its job has ended, or begins again.
    """
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    try:
        streams = await asyncio.open_unix_connection(desk.socket)
        headers = {"Content-Type": "application/json"}
        answer = await exchange(streams, request.method, target, "policy", headers, body)
    except OSError:
        raise _gone(rollout) from None
    return Response(answer.body, answer.status, media_type=answer.kind)


def _gone(rollout: str) -> NotFound:
    return NotFound(f"rollout {rollout[:100]}", "is in no running job's hands", "Ask while its job makes it")
