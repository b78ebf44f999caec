"""Requests that no honest client sends: each is refused in the one shape, none breaks the server."""

import asyncio
import random
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

pytestmark = pytest.mark.thorough
REQUESTS = 2500
STARTS = [
    *("", "/api/models/tunesmith/embedded", "/api/models/tunesmith/embedded/paths-info/main", "/tunesmith/v1/status"),
    *("/tunesmith/embedded/resolve", "/tunesmith/embedded/resolve/main/config.json", "/metrics"),
]
PIECES = [
    *("api", "models", "datasets", "tunesmith", "embedded", "resolve", "main", "tree", "revision", "paths-info"),
    *("config.json", "healthz", "metrics", "v1", "status", "..", ".", "", "%2e%2e", "%2f", "%00", "%ff", "%0d%0a"),
    *("{}", "a b", "é", "%ed%a0%80", "a" * 300, "-1", "*", "~", "con", "\\", "%5c..%5c", "?", "#", ";a=b", "%25", "&"),
]
BODIES: list[bytes] = [
    *(b"", b"{}", b"[]", b"null", b"paths=config.json", b"paths=%ff&paths=", b'{"paths":[1,null,"config.json"]}'),
    *(b"\xff\xfe", b"[" * 50_000, b'{"paths":["\\ud800"]}', b"\x00" * 100, b"1" * 5000, bytes(2 << 20)),
]
HEADERS: list[dict[str, Any]] = [
    *({}, {"content-type": "application/json"}, {"content-encoding": "zstd"}, {"content-encoding": "x"}),
    *({"x-api-key": b"\xff"}, {"authorization": "Bearer tml-no"}, {"content-length": "-5"}, {"content-length": "1e9"}),
    *({"range": "bytes=0-"}, {"range": "bytes=5-1"}, {"range": "bytes=" + "0-1," * 500}, {"range": "x"}),
    *({"if-range": "x", "range": "bytes=0-1"}, {"accept": "\x01"}, {"content-type": "multipart/form-data"}),
]

GATEWAY_REFUSAL = ["detail", "code", "message", "details", "error"]
"""Some of the tracing gateway's addresses lie at the root, too."""


def some_request(draw: random.Random) -> dict[str, Any]:
    """A path that begins as a real one does as often as not."""
    path = draw.choice(STARTS) + "".join(f"/{draw.choice(PIECES)}" for _ in range(draw.choice([0, 0, 1, 2, 5])))
    return {
        "method": draw.choice(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"]),
        "url": "http://tunesmith" + (path or "/"),
        "content": draw.choice(BODIES),
        "headers": {**draw.choice(HEADERS), **draw.choice(HEADERS)},
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_no_request_breaks_the_server(app: FastAPI, seed: int) -> None:
    async def send_all() -> set[int]:
        draw, seen = random.Random(seed), set()
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport) as client:
            for _ in range(REQUESTS):
                request = some_request(draw)
                answer = await client.request(**request)
                seen.add(answer.status_code)
                assert answer.status_code < 500, request
                # Ranges that make no sense are answered by the framework's own file sender.
                if answer.status_code >= 400 and request["method"] != "HEAD" and "range" not in request["headers"]:
                    assert list(answer.json()) in (["detail"], GATEWAY_REFUSAL), request
                    assert "Traceback" not in answer.text and "/src/" not in answer.text
        return seen

    assert asyncio.run(send_all()) >= {200, 206, 400, 401, 404, 405}
