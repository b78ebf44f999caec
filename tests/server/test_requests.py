"""Bodies, keys and errors of the app: the right status, one shape, and nothing of ours in what a client sees."""

import json
import logging
import math
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import zstandard
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from server.conftest import Ask

from tunesmith.core import errors
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_body, read_json
from tunesmith.server.errors import LONGEST_DETAIL
from tunesmith.services.keys import Keys

LIMIT = 1 << 20
"""The app of the fixture takes this much."""
ZSTD = {"content-encoding": "zstd"}


class Shape(BaseModel):
    """A body with a bound."""

    rank: Annotated[int, Field(ge=1)]
    name: str = ""


@pytest.fixture(autouse=True)
def echo(app: FastAPI) -> None:
    """Routes such as a dialect has."""

    @app.post("/echo")
    async def body(request: Request) -> dict[str, int]:
        whole = await read_body(request)
        return {"size": len(whole), "sum": sum(whole[:1000])}

    @app.post("/shape")
    async def shape(request: Request) -> Any:
        return (await read_json(request, Shape)).model_dump()

    @app.get("/mine")
    async def mine(owner: Owner) -> str:
        return owner

    @app.get("/refuse/{kind}")
    async def refuse(kind: str) -> None:
        raise KINDS[kind]("rank", "is odd \ud800", "Give an even one")

    @app.get("/numbers/{number}")
    async def number(number: int) -> int:
        return 1 // number


KINDS = {c.kind: c for c in (errors.UserError, *errors.UserError.__subclasses__())}


def detail_of(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["detail"]
    return str(body["detail"])


@pytest.mark.parametrize("size", [0, 1, LIMIT])
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_up_to_the_limit_arrives_whole(ask: Ask, size: int, packed: bool) -> None:
    data = bytes(i % 251 for i in range(1000)) * (size // 1000) + bytes(size % 1000)
    content = zstandard.compress(data) if packed else data
    answer = ask("POST", "/echo", content=content, headers=ZSTD if packed else {})
    assert (answer.status_code, answer.json()) == (200, {"size": size, "sum": sum(data[:1000])})


def test_data_that_does_not_shrink_arrives_whole_too(ask: Ask) -> None:
    data = b"".join(hash(i).to_bytes(8, "little", signed=True)[::-1] + str(i**3).encode() for i in range(30000))
    assert len(zstandard.compress(data)) > 100_000
    assert ask("POST", "/echo", content=zstandard.compress(data), headers=ZSTD).json()["size"] == len(data)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(64 << 10)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"x" * (LIMIT + 1), {}),
        (b"", {"content-length": str(1 << 30)}),
        (b"", {"content-length": "9" * 5000}),
        (endless, {}),
        (zstandard.compress(bytes(LIMIT + 1)), ZSTD),
        (zstandard.compress(bytes(LIMIT)) + b"more", ZSTD),
    ],
    ids=["one byte more", "declared", "declared beyond numbers", "endless", "packed", "packed and more"],
)
def test_a_body_over_the_limit_is_refused(ask: Ask, content: Any, headers: dict[str, str]) -> None:
    sent = content() if callable(content) else content
    answer = ask("POST", "/echo", content=sent, headers=headers)
    expected = 400 if isinstance(content, bytes) and content.endswith(b"more") else 413
    assert answer.status_code == expected
    assert "Send" in detail_of(answer)


def test_a_bomb_never_unfolds(ask: Ask) -> None:
    """1 GiB of zeros in some KB; what is held at any time stays near a slice and the limit."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    bomb = b"".join(packer.compress(bytes(16 << 20)) for _ in range(64)) + packer.flush()
    assert len(bomb) < LIMIT
    tracemalloc.start()
    answer = ask("POST", "/echo", content=bomb, headers=ZSTD)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert most < 32 * LIMIT


@pytest.mark.parametrize(
    ("content", "headers", "says"),
    [
        (b"not packed", ZSTD, "is not zstd"),
        (b"", ZSTD, "is cut off"),
        (zstandard.compress(b"abc" * 999)[:-1], ZSTD, "is cut off"),
        (b"abc", {"content-encoding": "br"}, "unknown 'br'"),
        (b"abc", {"content-encoding": "gzip, zstd"}, "unknown 'gzip, zstd'"),
    ],
)
def test_a_body_that_cannot_be_read(ask: Ask, content: bytes, headers: dict[str, str], says: str) -> None:
    answer = ask("POST", "/echo", content=content, headers=headers)
    assert answer.status_code == 400
    assert says in detail_of(answer)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"rank": 8, "name": "a"}', None),
        (b"", "body: is not JSON"),
        (b"\xff\xfe\x00", "body: is not JSON"),
        (b"[" * 100_000, "body: is not JSON"),
        (b"[]", "body: Input should be an object (got [])"),
        (b"{}", "rank: Field required. Add the field"),
        (b'{"rank": 0}', "rank: Input should be greater than or equal to 1 (got 0)"),
        (b'{"rank": "x", "name": 1}', "(1 more)"),
        (b'{"rank": "' + b"9" * 100_000 + b'"}', "rank: "),
        (b'{"rank": "\\ud800"}', "body: is not JSON"),
    ],
)
def test_json_is_checked_and_the_field_named(ask: Ask, content: bytes, says: str | None) -> None:
    answer = ask("POST", "/shape", content=content)
    if says is None:
        assert answer.json() == {"rank": 8, "name": "a"}
        return
    assert answer.status_code == 400
    assert says in detail_of(answer)
    assert len(detail_of(answer)) <= LONGEST_DETAIL + 2


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_a_key_opens_and_a_revoked_one_does_not(ask: Ask, app: FastAPI, key: str, header: str) -> None:
    value = key if header == "x-api-key" else f"Bearer {key}"
    assert ask("GET", "/mine", headers={header: value}).json() == "somebody"
    keys: Keys = app.state.keys
    keys.revoke(keys.list()[0].id)
    refused = ask("GET", "/mine", headers={header: value})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="tunesmith"')
    assert "unknown, revoked or expired key" in detail_of(refused)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "tml-no"},
        {"x-api-key": b"\xff\xfe"},
        {"x-api-key": "tml-" + "a" * 9000},
        {"authorization": "Basic eDp5"},
        {"authorization": "Bearer"},
    ],
)
def test_without_a_good_key(ask: Ask, key: str, headers: dict[str, Any]) -> None:
    answer = ask("GET", "/mine", headers=headers)
    assert answer.status_code == 401
    assert "tunesmith keys create" in detail_of(answer)


@pytest.mark.parametrize(
    ("kind", "status"), [("invalid", 400), ("not_found", 404), ("conflict", 400), ("denied", 403), ("stopped", 400)]
)
def test_refusals_have_the_status_of_their_kind(ask: Ask, kind: str, status: int) -> None:
    answer = ask("GET", f"/refuse/{kind}")
    assert answer.status_code == status
    assert detail_of(answer).startswith("rank: is odd ") and detail_of(answer).endswith(". Give an even one")


def test_the_kinds_are_all() -> None:
    assert set(KINDS) == {"invalid", "not_found", "conflict", "denied", "stopped"}


def test_what_nobody_foresaw_is_logged_with_the_number_that_the_client_gets(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask("GET", "/numbers/0")
    text = detail_of(answer)
    assert answer.status_code == 500 and text.endswith("; see the server's log")
    [record] = [r for r in caplog.records if r.name == "tunesmith.server.errors"]
    assert text.split()[2].rstrip(";") in record.message
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError
    assert "ZeroDivisionError" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/nothing", 404, "/nothing: no such address"),
        ("POST", "/healthz", 405, "does not take POST"),
        ("GET", "/numbers/x", 400, "number"),
        ("GET", "/%ff%fe", 404, "no such address"),
        ("GET", "/healthz/", 404, "no such address"),
    ],
)
def test_the_framework_speaks_the_same_way(ask: Ask, method: str, path: str, status: int, says: str) -> None:
    answer = ask(method, path)
    assert answer.status_code == status
    assert says in detail_of(answer)


def test_metrics_count_by_template(ask: Ask, app: FastAPI, key: str) -> None:
    for path in ("/numbers/1", "/numbers/2", "/numbers/0", "/nothing/1", "/nothing/2"):
        ask("GET", path)
    engines = [{"base_model": "a", "pid": 1, "waiting": n, "restarts": 0} for n in (1, 2)]
    numbers = {"sessions": 1, "sampling": 0, "pending": 4, "trained_tokens": 7, "sampled_tokens": 9}
    app.state.monitoring.watch(lambda: {"engines": engines, "models": [{}], **numbers})
    text = ask("GET", "/metrics").text
    for line in (
        'tunesmith_requests_total{method="GET",route="/numbers/{number}",status="200"} 2.0',
        'tunesmith_requests_total{method="GET",route="/numbers/{number}",status="500"} 1.0',
        'tunesmith_requests_total{method="GET",route="none",status="404"} 2.0',
        'tunesmith_request_seconds_count{method="GET",route="/numbers/{number}"} 3.0',
        "tunesmith_queue_depth 3.0",
        "tunesmith_trained_tokens_total 7.0",
        "tunesmith_live_models 1.0",
    ):
        assert f"\n{line}\n" in text
    status = ask("GET", "/tunesmith/v1/status", headers={"x-api-key": key}).json()
    assert (status["engines"], status["pending"]) == (engines, 4)
    assert [model["name"] for model in status["base_models"]] == ["tunesmith/embedded"]


@pytest.mark.parametrize(("host", "open_to_all"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])
def test_metrics_need_a_key_where_others_can_reach_them(
    ask: Ask, app: FastAPI, key: str, host: str, open_to_all: bool
) -> None:
    app.state.settings = replace(app.state.settings, host=host)
    assert ask("GET", "/metrics").status_code == (200 if open_to_all else 401)
    assert ask("GET", "/metrics", headers={"x-api-key": key}).status_code == 200
    assert ask("GET", "/healthz").json() == {"status": "ok"}
    assert ask("GET", "/tunesmith/v1/status").status_code == 401
    assert json.loads(ask("GET", "/healthz").text) == {"status": "ok"}


def test_readiness_says_what_is_away(ask: Ask, app: FastAPI, tmp_path: Path) -> None:
    """A data directory that is gone, and a server that stops."""
    assert (ask("GET", "/readyz").status_code, ask("GET", "/readyz").json()) == (200, {"status": "ready"})
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    app.state.readiness._said_at = -math.inf
    gone = ask("GET", "/readyz")
    assert gone.status_code == 503 and "the disk takes no files: No such file or directory" in gone.json()["because"]
    app.state.stopping.set()
    assert ask("GET", "/readyz").json()["because"] == ["the server is stopping"]
