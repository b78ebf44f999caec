"""Drawing what a request asks for, answered whole or as server-sent events while it is drawn."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tunesmith.core.errors import UserError
from tunesmith.core.types import Ints, NewToken, SamplingParams
from tunesmith.server.dialects.openai.choices import Choice
from tunesmith.server.dialects.openai.envelope import error_body, failure
from tunesmith.server.dialects.openai.growing import tokens_of
from tunesmith.server.dialects.refusals import refusal_of
from tunesmith.server.errors import refusal
from tunesmith.services.sessions.results import Failed, Sampled
from tunesmith.services.sessions.samplers import LiveSampler, Samplers

KEEPALIVE_SECONDS = 15.0
"""A stream that has nothing to say yet says so this often."""
EVENT_SECONDS = 0.001
"""Between two events of a stream, for each request in hand: what sends must leave room for what draws."""
LONGEST_PAUSE_SECONDS = 0.1
MOST_RUNNING = 1024
"""Requests in hand, of all clients; more are to come again in a moment."""
RETRY_SECONDS = 1
DONE = "data: [DONE]\n\n"
STILL_AT_WORK = ": still at work\n\n"
Heard = tuple[int, NewToken]
"""The number of a choice, and a token of it."""
News = asyncio.Queue[Heard | None]
"""None when there is no more to hear."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be drawn for one request."""

    samplers: Samplers
    live: LiveSampler
    prompts: Sequence[Ints]
    params: Sequence[SamplingParams]
    """Of each prompt."""
    n: int
    frame: dict[str, Any]
    """What every body and event says beside its choices."""
    object: tuple[str, str]
    """``object`` of the body, and of an event."""
    choices: Sequence[Choice]
    """n of each prompt, in order."""
    first: Mapping[str, Any] = field(default_factory=dict)
    """What the body says besides, or the first event."""
    nothing: bool = False
    """No token is wanted: the choices are complete as they are."""


def check_room(samplers: Samplers) -> None:
    """
    Raises:
        HTTPException: 429 while too much is in hand.
    """
    if samplers.running >= MOST_RUNNING:
        problem = UserError("server", f"has {samplers.running} requests in hand", "Try again in a moment")
        raise refusal(429, problem, {"Retry-After": str(RETRY_SECONDS)})


async def whole(request: Request, work: Work) -> Response:
    """The answer when all of it is there; a client that leaves gives its room to others."""
    drawn = await unless_gone(request, _draw(work, None))
    body = await asyncio.to_thread(_body, work, drawn)
    return Response(json.dumps(body), media_type="application/json")


async def streamed(request: Request, work: Work, with_usage: bool) -> StreamingResponse:
    """The answer from its first token on; what is refused until then is refused with a status of its own."""
    news = News()
    drawing = asyncio.create_task(_draw(work, lambda index, token: news.put_nowait((index, token))))
    drawing.add_done_callback(lambda _: news.put_nowait(None))
    try:
        first = await unless_gone(request, news.get())
        if first is None:
            drawing.result()
    except BaseException:
        drawing.cancel()
        raise
    events = _events(work, drawing, news, first, with_usage)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which is cancelled when the client leaves."""
    task, gone = asyncio.ensure_future(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _draw(work: Work, tell: Callable[[int, NewToken], None] | None) -> list[Sampled]:
    """The completions of every prompt, side by side.

    Raises:
        HTTPException, UserError: one that could not be drawn; the others are given up.
    """
    if work.nothing:
        return []
    tasks = [asyncio.create_task(_draw_one(work, i, tell)) for i in range(len(work.prompts))]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _draw_one(work: Work, place: int, tell: Callable[[int, NewToken], None] | None) -> Sampled:
    def hear(token: NewToken) -> None:
        assert tell is not None, "given where it is used"
        tell(place * work.n + token.candidate, token)

    prompt, params = work.prompts[place], work.params[place]
    on_token = None if tell is None else hear
    result = await work.samplers.draw(work.live, prompt, params, work.n, on_token=on_token)
    if isinstance(result, Failed):
        raise failure(result)
    return result


def _body(work: Work, drawn: Sequence[Sampled]) -> dict[str, Any]:
    completions = [c for sampled in drawn for c in sampled.completions]
    for i, completion in enumerate(completions):
        for token in tokens_of(completion, i % work.n):
            work.choices[i].add(token)
    usage = _usage(work, sum(len(c.tokens) for c in completions))
    choices = [choice.whole() for choice in work.choices]
    return {**work.frame, **work.first, "object": work.object[0], "choices": choices, "usage": usage}


async def _events(
    work: Work, drawing: "asyncio.Task[list[Sampled]]", news: News, first: Heard | None, with_usage: bool
) -> AsyncIterator[str]:
    """Events as tokens come, then the counts where they are wanted; a failure so late is an event of its own."""
    frame = {**work.frame, "object": work.object[1]}
    event = partial(_event, frame | ({"usage": None} if with_usage else {}))
    sampled = 0
    try:
        if work.first:
            yield _data({**frame, **work.first, "choices": []})
        if first is None:
            yield "".join(event(piece) for choice in work.choices if (piece := choice.piece()) is not None)
        async for heard in _batches(news, first, work.samplers):
            for index, token in heard:
                work.choices[index].add(token)
            sampled += len(heard)
            pieces = (work.choices[index].piece() for index in dict.fromkeys(index for index, _ in heard))
            yield "".join(event(piece) for piece in pieces if piece is not None) if heard else STILL_AT_WORK
        drawing.result()
        if with_usage:
            yield _data({**frame, "choices": [], "usage": _usage(work, sampled)})
        yield DONE
    except (HTTPException, UserError) as e:
        yield _data(error_body(refusal_of(e)))
    finally:
        drawing.cancel()


async def _batches(news: News, first: Heard | None, samplers: Samplers) -> AsyncIterator[list[Heard]]:
    """All that has come since the last time; an empty list after a while in which nothing came."""
    item = first
    while item is not None:
        heard = [item]
        while not news.empty() and (item := news.get_nowait()) is not None:
            heard.append(item)
        yield heard
        waiting = item is not None
        if waiting:
            await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, EVENT_SECONDS * samplers.running))
        while waiting:
            try:
                async with asyncio.timeout(KEEPALIVE_SECONDS):
                    item = await news.get()
                waiting = False
            except TimeoutError:
                yield []


def _event(frame: dict[str, Any], choice: dict[str, Any]) -> str:
    return _data({**frame, "choices": [choice]})


def _data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _usage(work: Work, sampled: int) -> dict[str, int]:
    given = sum(map(len, work.prompts))
    return {"prompt_tokens": given, "completion_tokens": sampled, "total_tokens": given + sampled}
