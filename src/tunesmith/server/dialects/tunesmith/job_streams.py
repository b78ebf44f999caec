"""What a job says while it runs: events, log, metrics; once, or followed as server-sent events until it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.jobs import jobs_of
from tunesmith.services.jobs.moves import ENDED

router = new_router("jobs")
LOOK_S = 0.5
"""Between two looks at a job that is followed."""
ALIVE_S = 15.0
"""A stream that has nothing to tell says at least so often that it lives."""
Follow = Annotated[bool, Query(description="Go on as server-sent events until the job ends or is paused.")]
Since = Annotated[int | None, Header(alias="last-event-id", description="Of a stream: where the one before broke.")]
Read = Callable[[int], tuple[list[Any], int]]
"""Where to begin -> (what is there from there on, where to go on)."""


@router.get("/jobs/{job_id}/events", response_model=answers.Events)
def events(
    request: Request,
    owner: Owner,
    job_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    follow: Follow = False,
    since: Since = None,
) -> Any:
    """Moves, notes and findings, oldest first, from the event after a number on."""
    jobs = jobs_of(request)

    def read(at: int) -> tuple[list[Any], int]:
        found = jobs.events(owner, job_id, at, limit)
        return found, found[-1].number if found else at

    begin = after if since is None else since
    found, after = read(begin)
    return _followed(request, owner, job_id, read, begin, answers.Event) if follow else _page(found, after)


@router.get("/jobs/{job_id}/logs", response_model=answers.Log)
def logs(
    request: Request,
    owner: Owner,
    job_id: str,
    offset: Annotated[int, Query(ge=0)] = 0,
    follow: Follow = False,
    since: Since = None,
) -> Any:
    """Complete lines of the log from a byte on, 1 MiB at most."""
    jobs = jobs_of(request)

    def read(at: int) -> tuple[list[Any], int]:
        text, on = jobs.logs(owner, job_id, at)
        return ([{"text": text, "next_offset": on}] if text else []), on

    begin = offset if since is None else since
    found, on = read(begin)
    if follow:
        return _followed(request, owner, job_id, read, begin, answers.Log)
    return found[0] if found else {"text": "", "next_offset": on}


@router.get("/jobs/{job_id}/metrics", response_model=answers.Metrics)
def metrics(
    request: Request,
    owner: Owner,
    job_id: str,
    after_step: Annotated[int, Query(ge=-1)] = -1,
    follow: Follow = False,
    since: Since = None,
) -> Any:
    """All metrics of every finished step after one."""
    jobs = jobs_of(request)

    def read(at: int) -> tuple[list[Any], int]:
        found = jobs.metrics(owner, job_id, at)
        return found, int(found[-1]["step"]) if found else at

    begin = after_step if since is None else since
    if follow:
        read(begin)
        return _followed(request, owner, job_id, read, begin, None)
    # As they stand in the file: to read and write ten thousand of them again would stop everybody else.
    lines = jobs.run(owner, job_id).metric_lines_after(begin)
    return Response(b'{"items": [' + b", ".join(lines) + b"]}", media_type="application/json")


def _page(found: list[Any], after: int) -> Mapping[str, Any]:
    return {"items": found, "next_after": after}


def _followed(
    request: Request, owner: str, job_id: str, read: Read, begin: int, model: type[BaseModel] | None
) -> StreamingResponse:
    stream = _stream(request, owner, job_id, read, begin, model)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _stream(
    request: Request, owner: str, job_id: str, read: Read, at: int, model: type[BaseModel] | None
) -> AsyncIterator[str]:
    """Everything from a place on, then ``event: end`` with the state that the job came to."""
    stopping: asyncio.Event = request.app.state.stopping
    quiet_s = 0.0
    while not stopping.is_set():
        try:
            # The state first: what the job said before it ended is then read too.
            state = (await asyncio.to_thread(jobs_of(request).get, owner, job_id)).state
            found, on = await asyncio.to_thread(read, at)
        except NotFound:
            yield 'event: end\ndata: {"state": "deleted"}\n\n'
            return
        for item in found:
            shown = item if model is None else model.model_validate(item).model_dump()
            yield f"id: {on}\ndata: {json.dumps(shown)}\n\n"
        quiet_s = 0.0 if found else quiet_s + LOOK_S
        moved, at = on != at, on
        if state in (*ENDED, "paused") and not moved:
            yield f"event: end\ndata: {json.dumps({'state': state})}\n\n"
            return
        if quiet_s >= ALIVE_S:
            quiet_s = 0.0
            yield ": alive\n\n"
        if not moved:
            await _wait(stopping)


async def _wait(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), LOOK_S)
    except TimeoutError:
        return
