"""The clients of ``bench.soak``, in a process of their own: many that use the API at once, and streams of completions.

``python bench/soak_clients.py control '{"seconds": 60, "clients": 200}'`` prints one line of JSON at its end; address
and key are in TUNESMITH_URL and TUNESMITH_API_KEY.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx2

from bench.sides import stream_turns

URL, HEADERS = os.environ["TUNESMITH_URL"], {"x-api-key": os.environ["TUNESMITH_API_KEY"]}
ROW = b'{"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]}\n'
PAUSE_S = (0.5, 1.5)
"""What a client waits between two requests, as one that watches a job does."""


@dataclass(slots=True)
class Seen:
    """What the clients were answered."""

    began: float = field(default_factory=time.perf_counter)
    seconds: list[float] = field(default_factory=list)
    by_minute: dict[int, list[float]] = field(default_factory=dict)
    by_what: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, what: str, began: float, answer: httpx2.Response) -> None:
        took = time.perf_counter() - began
        self.seconds.append(took)
        self.by_what.setdefault(what, []).append(took)
        self.by_minute.setdefault(int((began - self.began) / 60), []).append(took)
        self.statuses[f"{answer.status_code // 100}xx"] += 1
        if answer.status_code >= 500 or answer.status_code == 429:
            self.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")


def actions(job: str) -> dict[str, tuple[int, Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]]]:
    """What clients do, and how often beside the rest."""

    def get(path: str) -> Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]:
        return lambda client, _: client.get(path)

    def upload(client: httpx2.AsyncClient, number: int) -> Awaitable[httpx2.Response]:
        return client.put(f"/api/v1/datasets/soak-{number}", params={"kind": "sft"}, content=ROW * 16)

    def remove(client: httpx2.AsyncClient, number: int) -> Awaitable[httpx2.Response]:
        return client.delete(f"/api/v1/datasets/soak-{number}")

    last: dict[int, int] = {}

    async def metrics(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
        """Those since this client's last look."""
        answer = await client.get(f"/api/v1/jobs/{job}/metrics", params={"after_step": last.get(number, 0)})
        if items := answer.json().get("items"):
            last[number] = items[-1]["step"]
        return answer

    def session(client: httpx2.AsyncClient, _: int) -> Awaitable[httpx2.Response]:
        return client.post("/api/v1/create_session", json={"tags": ["soak"], "sdk_version": "1"})

    return {
        "a job": (20, get(f"/api/v1/jobs/{job}")),
        "its events": (10, get(f"/api/v1/jobs/{job}/events?limit=20")),
        "its metrics": (10, metrics),
        "jobs": (10, get("/api/v1/jobs?limit=20")),
        "OpenAI's jobs": (10, get("/v1/fine_tuning/jobs?limit=20")),
        "models": (10, get("/v1/models")),
        "datasets": (10, get("/api/v1/datasets?limit=20")),
        "accounts": (5, get("/v1/accounts")),
        "status": (5, get("/tunesmith/v1/status")),
        "upload": (4, upload),
        "delete": (4, remove),
        "session": (2, session),
    }


async def control(seconds: float, clients: int, job: str) -> dict[str, Any]:
    """Clients that each ask something about once a second; how long all of their requests took."""
    seen, known = Seen(), actions(job)
    weights = [weight for weight, _ in known.values()]
    until = time.perf_counter() + seconds
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)

    async def one(number: int, client: httpx2.AsyncClient) -> None:
        drawn = random.Random(number)
        await asyncio.sleep(drawn.uniform(0, PAUSE_S[1]))
        while time.perf_counter() < until:
            [what] = drawn.choices(list(known), weights)
            began = time.perf_counter()
            try:
                seen.note(what, began, await known[what][1](client, number))
            except httpx2.HTTPError as e:
                seen.wrong.append(f"{what}: {type(e).__name__} {e}")
            await asyncio.sleep(drawn.uniform(*PAUSE_S))

    async with httpx2.AsyncClient(base_url=URL, headers=HEADERS, timeout=60, limits=limits) as client:
        await asyncio.gather(*(one(number, client) for number in range(clients)))
    slowest = {what: _share(took, 0.99) for what, took in seen.by_what.items()}
    return {
        "requests": len(seen.seconds),
        "p50_ms": 1000 * median(seen.seconds),
        "p99_ms": 1000 * _share(seen.seconds, 0.99),
        "p99_by_minute_ms": [round(1000 * _share(seen.by_minute[at], 0.99)) for at in sorted(seen.by_minute)],
        "most_ms": 1000 * max(seen.seconds),
        "statuses": seen.statuses,
        "num_wrong": len(seen.wrong),
        "wrong": seen.wrong[:5],
        "slowest": {what: round(1000 * slowest[what]) for what in sorted(slowest, key=slowest.__getitem__)[-3:]},
    }


def _share(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def streams(asked: dict[str, Any], count: int, each: int, **_: Any) -> None:
    """So many streams, each of which reads several completions one after the other."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=URL, headers=HEADERS, timeout=300, limits=limits) as client:

        async def one(stream: int) -> int:
            return sum([await _completion(client, {**asked, "seed": each * stream + n}) for n in range(each)])

        await stream_turns(one, count)


async def _completion(client: httpx2.AsyncClient, asked: dict[str, Any]) -> int:
    """Tokens of one streamed completion. Only its last piece, which counts them, is read as more than bytes."""
    asked |= {"stream": True, "temperature": 1.0, "stream_options": {"include_usage": True}}
    tail = b""
    async with client.stream("POST", "/v1/completions", json=asked) as answer:
        if answer.status_code != 200:
            raise SystemExit((await answer.aread()).decode())
        async for piece in answer.aiter_raw():
            tail = (tail + piece)[-2000:]
    usage = [line for line in tail.split(b"\n") if b'"completion_tokens"' in line][-1]
    return int(json.loads(usage.removeprefix(b"data: "))["usage"]["completion_tokens"])


if __name__ == "__main__":
    done = asyncio.run({"control": control, "streams": streams}[sys.argv[1]](**json.loads(sys.argv[2])))
    print(json.dumps(done), flush=True)
