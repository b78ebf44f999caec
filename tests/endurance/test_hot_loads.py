"""Weights that change under requests: every reply is one version's from its first token to its last."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from endurance.conftest import Report
from endurance.house import House

from tunesmith.services.jobs.moves import ENDED

pytestmark = pytest.mark.thorough
SAMPLING = {"prompt": "ab:", "max_tokens": 24, "temperature": 0.0, "logprobs": 1}
CALLERS = 4


def said(client: httpx2.Client, model: str) -> tuple[str, tuple[float, ...]]:
    """Text and log-probabilities, which no two versions share."""
    answer = client.post("/v1/completions", json={**SAMPLING, "model": model})
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    return choice["text"], tuple(choice["logprobs"]["token_logprobs"])


def tuned(house: House, seeds: list[int]) -> list[str]:
    """Names of models that short jobs have made."""
    house.upload("sft")
    jobs = [house.create("sft", epochs=4, seed=seed, learning_rate=5e-4) for seed in seeds]
    house.until(lambda: all(house.place.state(job) in ENDED for job in jobs))
    return [house.ask("GET", f"/jobs/{job.id}")["model"] for job in jobs]


@pytest.mark.parametrize("loads", [4, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_no_reply_is_of_two_versions(houses: Callable[..., House], report: Report, loads: int) -> None:
    house = houses("--max-running-jobs", "2")
    models = tuned(house, [1, 2])
    versions = {model: said(house.client, model) for model in models}
    assert versions[models[0]] != versions[models[1]]
    house.ask("POST", "/deployments", json={"id": "live", "model": models[0]})
    over, heard, wrong = threading.Event(), Counter[str](), list[Any]()
    name_of = {reply: model for model, reply in versions.items()}

    def call() -> None:
        with httpx2.Client(base_url=house.server.base_url, headers={"x-api-key": house.key}, timeout=60) as client:
            while not over.is_set():
                try:
                    reply = said(client, "deployments/live")
                except AssertionError as e:
                    wrong.append(str(e)[:300])
                    continue
                heard[name_of.get(reply, "")] += 1
                if reply not in name_of:
                    wrong.append(reply)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        for number in range(loads):
            wanted, other = models[(number + 1) % 2], models[number % 2]
            house.ask("POST", "/deployments/live/load", json={"model": wanted, "default": True})
            assert said(house.client, "deployments/live") == versions[wanted], "the new one answers at once"
            if other in house.ask("GET", "/deployments/live")["loaded"]:
                house.ask("POST", "/deployments/live/unload", json={"model": other})
            time.sleep(0.02)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert all(heard[model] for model in models)
    report(f"{loads} loads, {sum(heard.values()):,} replies meanwhile, none dropped, none of two versions")
