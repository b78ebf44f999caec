"""Results wait for whoever sent the request, and for nobody else."""

import asyncio

import numpy as np
import pytest

from tunesmith.core.errors import Denied, NotFound
from tunesmith.core.types import Completion, PromptScores
from tunesmith.services.sessions import futures as module
from tunesmith.services.sessions.finished import MOST_NEWS, FinishedLog
from tunesmith.services.sessions.futures import Futures
from tunesmith.services.sessions.results import Failed, Said, Sampled, Stepped, Trained, from_bytes, to_bytes


def waiting(futures, request_id, owner="ann", seconds=1.0, stopping=None):
    return futures.wait(request_id, owner, seconds, stopping or asyncio.Event())


def test_a_wait_ends_with_the_result():
    async def main():
        futures = Futures()
        future = futures.open("m:1", "ann")
        asyncio.get_running_loop().call_later(0.01, future.finish, Said({"path": "x"}))
        return (await waiting(futures, "m:1")).result

    assert asyncio.run(main()) == Said({"path": "x"})


@pytest.mark.parametrize("stopped", [False, True])
def test_a_wait_ends_without_one(stopped):
    async def main():
        futures, stopping = Futures(), asyncio.Event()
        futures.open("m:1", "ann")
        if stopped:
            stopping.set()
        async with asyncio.timeout(5):
            found = await waiting(futures, "m:1", seconds=60 if stopped else 0.01, stopping=stopping)
        return found.result, futures.pending()

    assert asyncio.run(main()) == (None, 1)


def test_others_requests_and_unknown_ones():
    futures = Futures()
    futures.open("m:1", "ann")
    with pytest.raises(Denied, match="do not have access"):
        futures.find("m:1", "bob")
    with pytest.raises(NotFound, match="m:2"):
        futures.find("m:2", "ann")


def test_fetched_results_are_kept_for_a_retry_and_then_forgotten(monkeypatch):
    async def main():
        futures = Futures()
        futures.open("m:1", "ann").finish(Said())
        futures.open("m:2", "ann").finish(Said())
        await waiting(futures, "m:1")
        futures.prune()
        assert "m:1" in futures and "m:2" in futures
        monkeypatch.setattr(module, "KEPT_AFTER_FETCH", -1.0)
        futures.prune()
        return "m:1" in futures, "m:2" in futures

    assert asyncio.run(main()) == (False, True)


COMPLETION = Completion(
    np.array([3, 4], np.int32),
    np.array([-0.5, -1], np.float32),
    np.array([-0.25, -1], np.float32),
    "stop",
    7,
    np.array([[3], [4]], np.int32),
    np.array([[-0.5], [-1]], np.float32),
)


@pytest.mark.parametrize(
    "result",
    [
        Said({"path": "tinker://a/weights/b", "size_bytes": 3}),
        Stepped({"optim/grad_norm": 0.1}),
        Failed("data[0]: is wrong", "user"),
        Trained(-1.5, [np.array([1.5, -2], np.float32), np.zeros((2, 3), np.float32)]),
        Sampled([COMPLETION], PromptScores(np.array([np.nan, -1], np.float32))),
    ],
)
def test_results_survive_the_disk(result):
    back = from_bytes(to_bytes(result))
    assert type(back) is type(result) and repr(back) == repr(result)
    assert to_bytes(back) == to_bytes(result)


def test_news_of_many_requests_at_once():
    async def main():
        log, stopping = FinishedLog(), asyncio.Event()
        assert (await log.after(0, 0, stopping))[0] == []
        log.add("s:sample:0:0", False)
        log.add("s:sample:0:1", True)
        first, seen = await log.after(0, 60, stopping)
        asyncio.get_running_loop().call_later(0.01, log.add, "s:sample:0:2", False)
        second, newest = await log.after(seen, 60, stopping)
        again, _ = await log.after(seen, 0, stopping)
        assert newest == seen + 1 and again == second
        return first, second

    first, second = asyncio.run(main())
    assert first == [("s:sample:0:0", False), ("s:sample:0:1", True)]
    assert second == [("s:sample:0:2", False)]


def test_news_is_bounded_and_holds_no_results():
    async def main():
        log = FinishedLog()
        for i in range(MOST_NEWS + 10):
            log.add(f"s:sample:0:{i}", False)
        return await log.after(0, 0, asyncio.Event())

    news, _ = asyncio.run(main())
    assert len(news) == MOST_NEWS and news[-1] == (f"s:sample:0:{MOST_NEWS + 9}", False)
