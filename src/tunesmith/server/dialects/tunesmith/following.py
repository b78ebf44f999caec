"""What a job of any kind says while it runs: once, or followed as server-sent events until it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import ENDED

LOOK_S = 0.5
"""Between two looks at a job that is followed."""
ALIVE_S = 15.0
"""A stream that has nothing to tell says at least so often that it lives."""
Follow = Annotated[bool, Query(description="Go on as server-sent events until the job ends or is paused.")]
Since = Annotated[int | None, Header(alias="last-event-id", description="Of a stream: where the one before broke.")]
After = Annotated[int, Query(ge=0)]
Most = Annotated[int, Query(ge=1, le=1000)]
Read = Callable[[int], tuple[list[Any], int]]
"""Where to begin -> (what is there from there on, where to go on)."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and whether to go on."""

    request: Request
    owner: str
    follow: bool
    since: int | None

    def answer(
        self, jobs: Jobs, job_id: str, read: Read, begin: int, model: type[BaseModel] | None, whole: Callable[..., Any]
    ) -> Any:
        """A stream, or what is there now.

        Args:
            begin: where, unless a broken stream goes on.
            model: of an item in a stream; None where it is shown as it is.
            whole: (items, where to go on) -> the answer to a question that is asked once.
        """
        begin = self.begin(begin)
        found, on = read(begin)
        return self.stream(jobs, job_id, read, begin, model) if self.follow else whole(found, on)

    def begin(self, asked_for: int) -> int:
        """Where to begin: where a broken stream goes on, if there was one."""
        return asked_for if self.since is None else self.since

    def stream(
        self, jobs: Jobs, job_id: str, read: Read, begin: int, model: type[BaseModel] | None
    ) -> StreamingResponse:
        stream = _stream(self, jobs, job_id, read, begin, model)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _asking(request: Request, owner: Owner, follow: Follow = False, since: Since = None) -> Asking:
    return Asking(request, owner, follow, since)


Asked = Annotated[Asking, Depends(_asking)]


def events_of(jobs: Jobs, asked: Asking, job_id: str, after: int, limit: int) -> Any:
    """Moves, notes and findings from the event after a number on."""

    def read(at: int) -> tuple[list[Any], int]:
        found = jobs.events(asked.owner, job_id, at, limit)
        return found, found[-1].number if found else at

    def whole(found: list[Any], on: int) -> Mapping[str, Any]:
        return {"items": found, "next_after": on}

    return asked.answer(jobs, job_id, read, after, answers.Event, whole)


def log_of(jobs: Jobs, asked: Asking, job_id: str, offset: int) -> Any:
    """Complete lines of the log from a byte on."""

    def read(at: int) -> tuple[list[Any], int]:
        text, on = jobs.logs(asked.owner, job_id, at)
        return ([{"text": text, "next_offset": on}] if text else []), on

    def whole(found: list[Any], on: int) -> Mapping[str, Any]:
        return found[0] if found else {"text": "", "next_offset": on}

    return asked.answer(jobs, job_id, read, offset, answers.Log, whole)


def metrics_of(jobs: Jobs, asked: Asking, job_id: str, after_step: int) -> Any:
    """All metrics of every finished step after one."""

    def read(at: int) -> tuple[list[Any], int]:
        found = jobs.metrics(asked.owner, job_id, at)
        return found, int(found[-1]["step"]) if found else at

    begin = asked.begin(after_step)
    run = jobs.run(asked.owner, job_id)
    if asked.follow:
        return asked.stream(jobs, job_id, read, begin, None)
    # As they stand in the file: to read and write ten thousand of them again would stop everybody else.
    return Response(b'{"items": [' + b", ".join(run.metric_lines_after(begin)) + b"]}", media_type="application/json")


async def _stream(
    asked: Asking, jobs: Jobs, job_id: str, read: Read, at: int, model: type[BaseModel] | None
) -> AsyncIterator[str]:
    """Everything from a place on, then ``event: end`` with the state that the job came to."""
    stopping: asyncio.Event = asked.request.app.state.stopping
    quiet_s = 0.0
    while not stopping.is_set():
        try:
            # The state first: what the job said before it ended is then read too.
            state = (await asyncio.to_thread(jobs.get, asked.owner, job_id)).state
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
