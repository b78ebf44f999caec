"""A completion that takes long, as server-sent events: signs of life, then all of it, or what went wrong."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks import completions
from tunesmith.services.sessions.results import Failed


def answered() -> Any:
    return {"choices": []}


def failed() -> Any:
    return Failed("the engine ended", "server")


def refused() -> Any:
    raise UserError("prompt", "is empty", "Give one")


def events(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> list[str]:
    monkeypatch.setattr(completions, "KEEPALIVE_SECONDS", 0.02)

    async def slow() -> Any:
        await asyncio.sleep(0.05)
        return work()

    async def collect() -> list[str]:
        return [text async for text in completions._events(asyncio.ensure_future(slow()))]

    return "".join(asyncio.run(collect())).split("\n\n")[:-1]


def test_signs_of_life_come_before_the_answer(monkeypatch):
    *comments, event, done = events(monkeypatch, answered)
    assert len(comments) >= 2 and all(text.startswith(":") for text in comments)
    assert event == 'data: {"choices": []}'
    assert done == "data: [DONE]"


@pytest.mark.parametrize(
    ("work", "code", "words"), [(failed, "INTERNAL", "the engine ended"), (refused, "INVALID_ARGUMENT", "is empty")]
)
def test_a_late_failure_is_an_event_of_its_own_and_no_end(monkeypatch, work, code, words):
    *_, event = events(monkeypatch, work)
    error = json.loads(event.removeprefix("data: "))["error"]
    assert error["code"] == code and words in error["message"]


def test_who_stops_reading_stops_the_work(monkeypatch):
    monkeypatch.setattr(completions, "KEEPALIVE_SECONDS", 0.01)

    async def leave() -> bool:
        work = asyncio.ensure_future(asyncio.sleep(60, {}))
        reading = completions._events(work)
        await anext(reading)
        await reading.aclose()
        await asyncio.wait([work])
        return work.cancelled()

    assert asyncio.run(leave())
