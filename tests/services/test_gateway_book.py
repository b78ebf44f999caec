"""Records of rollouts: found by all of their tags, bounded, and a status that its end has the last word on."""

import base64
import json
import struct

import numpy as np
import pytest
import zstandard

from tunesmith.core.errors import UserError
from tunesmith.services.gateway import wire
from tunesmith.services.gateway.book import Book, Books, Log, Shelf, Trace, tags_of


def log(*tags: str, code: int | None = None, at: float = 0.0, size: int = 1) -> Log:
    status = None if code is None else {"code": code, "message": f"m{code}", "details": []}
    return Log(tags, "eval_protocol", "x", "INFO", status, {}, size, at)


def trace(rollout: str, turns: int, at: float = 0.0) -> Trace:
    messages = [{"role": "user", "content": str(i)} for i in range(turns)]
    ids, numbers = np.array([5, 6], np.int32), np.array([-0.5, -0.25], np.float32)
    told = (messages, [], {"role": "assistant", "content": "a"}, "stop", np.array([1, 2, 3], np.int32), ids, numbers)
    return Trace((f"rollout_id:{rollout}", "run_id:u"), "m", *told, size=10, at=at or 4e9)


def test_all_tags_must_be_there_and_none_finds_nothing():
    shelf = Shelf[Log](10, clock=lambda: 0.0)
    for tags in (("a",), ("a", "b"), ("b",), ("a", "b", "c")):
        shelf.add(log(*tags))
    assert [record.tags for record in shelf.find(("a", "b"))] == [("a", "b"), ("a", "b", "c")]
    assert shelf.find(("d",)) == shelf.find(()) == []


def test_the_oldest_goes_when_there_are_too_many_too_large_or_too_old():
    now = [0.0]
    shelf = Shelf[Log](3, most_bytes=10, clock=lambda: now[0])
    for i in range(5):
        shelf.add(log("a", at=float(i)))
    assert [record.at for record in shelf.find(("a",))] == [2, 3, 4]
    shelf.add(log("a", at=5, size=9))
    assert [record.at for record in shelf.find(("a",))] == [4, 5]
    now[0] = 24 * 3600 + 4.5
    assert [record.at for record in shelf.find(("a",))] == [5]
    shelf.add(log("b", at=now[0]))
    assert len(shelf) == 2
    shelf.add(log("b", size=11, at=now[0]))
    assert len(shelf) == 0 and shelf.find(("a",)) == shelf.find(("b",)) == []


def test_a_status_stands_once_the_rollout_has_ended(monkeypatch: pytest.MonkeyPatch):
    book = Book()
    told = []
    for code in (None, 101, 100, 101):
        book.logs.add(log("rollout_id:r", code=code, at=4e9))
        told.append(wire.status(book, "r")["status"])
    assert told == [None, {"code": 101}, {"code": 100}, {"code": 100}]
    assert wire.status(book, "other") == {"rollout_id": "other", "status": None, "extras": None}


def test_the_last_trace_is_the_longest_and_payloads_bring_every_turn():
    book = Book()
    for turns in (1, 3, 2):
        book.traces.add(trace("r", turns))
    book.traces.add(trace("other", 9))
    wanted = wire.Wanted(("rollout_id:r",))
    (one,) = wire.last_trace(book, wanted)["traces"]
    assert len(one["input"]["messages"]) == 3 and "payloads" not in one
    packed = wire.last_trace(book, wire.Wanted(("rollout_id:r",), payloads=True))
    assert packed["total_traces"] == 3
    payloads = {
        k: zstandard.decompress(base64.b64decode(v["data"])) for k, v in packed["traces"][0]["payloads"].items()
    }
    assert json.loads(payloads["prompt_token_ids"]) == [1, 2, 3]
    # Header of 24 bytes: magic, version 1, two tokens, two entries of 8 bytes.
    assert struct.unpack("<4sBBHIIQ", payloads["logprobs"][:24]) == (b"LP01", 1, 0, 0, 2, 16, 0)
    assert list(struct.iter_unpack("<if", payloads["logprobs"][24:])) == [(5, -0.5), (6, -0.25)]


def test_accounts_have_books_of_their_own():
    books = Books()
    books.of("ann").logs.add(log("a", at=4e9))
    assert len(books.of("ann").logs) == 1 and len(books.of("bob").logs) == 0


def test_a_line_needs_tags_and_a_status_a_number():
    assert wire.read_log({"tags": ["a", "a"], "status": {"code": None}, "new": 1}, 5).tags == ("a",)
    for bad in ({}, [], {"tags": []}, {"tags": [1]}, {"tags": ["a"], "status": {"code": True}}):
        with pytest.raises(UserError):
            wire.read_log(bad, 5)
    assert tags_of({"rollout_id": "r", "row_id": ""}) == ("rollout_id:r",)
