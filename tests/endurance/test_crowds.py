"""Many at once: clients that read and write without a pause, streams of events, and training sessions side by side."""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from clients.wire import Wire
from endurance.conftest import Report
from endurance.house import House

pytestmark = pytest.mark.thorough
ROW = b'{"messages": [{"role": "user", "content": "a:"}, {"role": "assistant", "content": "b"}]}\n'
P99_S, STEPS = 0.5, 3


def memory_mb(house: House) -> float:
    """Of the server's own process."""
    assert house.server.process is not None
    said = Path(f"/proc/{house.server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", said)
    assert found is not None
    return int(found[1]) / 1024


async def ask_all(house: House, clients: int, seconds: float, job: str) -> tuple[list[float], Counter[int]]:
    """(how long each request took, how many had which status)."""
    took, statuses, until = list[float](), Counter[int](), time.monotonic() + seconds
    reads = [f"/jobs/{job}", "/jobs?limit=20", "/datasets?limit=20", f"/jobs/{job}/events", f"/jobs/{job}/metrics"]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    base, headers = f"{house.server.base_url}/api/v1", {"x-api-key": house.key}

    async def one(number: int, client: httpx2.AsyncClient) -> None:
        drawn, held = random.Random(number), ""
        while time.monotonic() < until:
            began = time.monotonic()
            if drawn.random() < 0.9:
                answer = await client.get(drawn.choice(reads))
            elif held:
                answer = await client.delete(f"/datasets/{held}")
                held = ""
            else:
                held = f"crowd-{number}-{time.monotonic_ns():x}"
                answer = await client.put(f"/datasets/{held}?kind=sft", content=ROW * 4)
            took.append(time.monotonic() - began)
            statuses[answer.status_code] += 1
            await asyncio.sleep(drawn.uniform(0, 0.4))

    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60, limits=limits) as client:
        await asyncio.gather(*(one(number, client) for number in range(clients)))
    return took, statuses


@pytest.mark.parametrize(
    ("clients", "seconds"), [(10, 3.0), pytest.param(50, 300.0, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_clients_that_read_and_write(
    houses: Callable[..., House], report: Report, clients: int, seconds: float
) -> None:
    house = houses()
    house.upload("sft")
    job = house.create("sft").id
    asyncio.run(ask_all(house, clients, min(10.0, seconds), job))
    before = memory_mb(house)
    took, statuses = asyncio.run(ask_all(house, clients, seconds, job))
    growth = memory_mb(house) / before - 1
    p99, rate = sorted(took)[int(0.99 * len(took))], len(took) / seconds
    report(
        f"{clients} clients for {seconds:.0f} s: {rate:.0f} requests/s, p99 {1000 * p99:.0f} ms, memory {growth:+.0%}; "
        + ", ".join(f"{count:,} of {status}" for status, count in sorted(statuses.items()))
    )
    assert set(statuses) <= {200, 204}, statuses
    assert growth < 0.1
    if seconds > 60:
        assert p99 < P99_S and rate >= 150


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_many_follow_a_job_at_once(houses: Callable[..., House], report: Report, count: int) -> None:
    """Each hears every event once and in order; meanwhile the server answers others."""
    house = houses()
    house.upload("sft", 4)
    job = house.create("sft", epochs=10)
    url = f"{house.server.base_url}/api/v1/jobs/{job.id}/events?follow=true"
    limits = httpx2.Limits(max_connections=None)
    waits = list[float]()

    async def follow(client: httpx2.AsyncClient) -> list[int]:
        numbers = list[int]()
        async with client.stream("GET", url) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and "number" in (told := json.loads(line.removeprefix("data: "))):
                    numbers.append(told["number"])
        return numbers

    async def all_of_them() -> list[list[int]]:
        async with httpx2.AsyncClient(headers={"x-api-key": house.key}, timeout=300, limits=limits) as client:
            followers = [asyncio.create_task(follow(client)) for _ in range(count)]
            while not all(one.done() for one in followers):
                began = time.monotonic()
                answer = await client.get(f"{house.server.base_url}/healthz")
                waits.append(time.monotonic() - began)
                assert answer.status_code == 200
                await asyncio.sleep(0.2)
            return await asyncio.gather(*followers)

    heard = asyncio.run(all_of_them())
    expected = [event.number for event in house.place.jobs.events(job.owner, job.id, limit=1000)]
    for numbers in heard:
        assert numbers == expected
    middle, most = sorted(waits)[len(waits) // 2], max(waits)
    report(f"{count} streams of events, each whole; /healthz {1000 * middle:.0f} ms, at most {1000 * most:.0f} ms")


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_training_sessions_side_by_side(houses: Callable[..., House], report: Report, count: int) -> None:
    house = houses()

    def train(_number: int) -> int:
        done = 0
        with Wire(house.server.base_url, house.key) as wire:
            model = wire.policy(wire.session(), "test/tiny")
            for seq in range(1, STEPS + 1):
                wire.result(wire.optim_step(model, seq, 1e-4)["request_id"])
                done += 1
        return done

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        done = list(pool.map(train, range(count)))
    assert done == [STEPS] * count
    assert "internal error" not in house.server.log()
    report(f"{count} sessions of {STEPS} updates at once in {time.monotonic() - began:.0f} s, none failed")
