"""Every route of the managed wire with ids, queries and bodies that make no sense: refused, and never a fault."""

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from fastapi.routing import APIRoute
from server.conftest import Ask
from server.fireworks.conftest import Call

from tunesmith.server.dialects.fireworks import managed

IDS = ("none", "...", "%2e%2e%2fx", "x" * 300, "%00", "%F0%9F%98%80", "A_b", "-", "x%20y", "a:b")
QUERIES = (
    {"filter": "a=1 AND", "pageToken": "e30="},
    {"orderBy": "a b c", "pageSize": "x"},
    {"readMask": "a..b", "updateMask": "\x00"},
    {"pageToken": "W1tbW1tb" * 50, "filter": "\U0001f600:x"},
)
BODIES: tuple[Any, ...] = (
    None,
    [],
    {"model": [], "dataset": 3, "deployment": {}, "evaluationJob": "x", "value": None, "replicaCount": 1e99},
    {"datasetId": {"$gt": ""}, "modelId": "x" * 70, "keyName": "\u0000", "apiKey": {"displayName": "\n"}},
    {"filenameToSize": {"a.jsonl": -1}, "filename_to_size": {"": "1"}, "baseModel": ["x"], "dataset": "a/b/c"},
    {"trainingConfig": {"baseModel": "accounts/a/models/b", "epochs": "1e3"}, "lossConfig": [], "chunkSize": -2},
    {"dataset": {"displayName": {"a": 1}, "exampleCount": [1]}, "datasetId": "a", "name": "accounts/x/y/z/w"},
    {"supervisedFineTuningJob": {"dataset": None, "lrScheduler": {"linear": {"minLrRatio": float("inf")}}}},
    {"displayName": 7, "description": ["x"], "default": "maybe", "role": None, "userId": "\ud83d"},
)


def routes() -> Iterator[APIRoute]:
    for part in vars(managed).values():
        if isinstance(part, ModuleType) and hasattr(part, "router"):
            for route in part.router.routes:
                assert isinstance(route, APIRoute)
                yield route


def address(route: APIRoute, value: str, account: str = "somebody") -> str:
    path = route.path.replace("{account}", account)
    return "/" + re.sub(r"\{[a-z_]+\}", lambda _: value, path)


def test_nonsense_is_refused_and_never_a_fault(call: Call):
    """Each route has its own four of all combinations, all of them the whole table between them."""
    faults = []
    for place, route in enumerate(routes()):
        method = min(route.methods)
        for n in range(place, place + 4):
            body, query = BODIES[n % len(BODIES)], QUERIES[n % len(QUERIES)]
            content = json.dumps(body).encode() if method in ("POST", "PATCH") else b""
            answer = call(method, address(route, IDS[n % len(IDS)]), content=content, params=query)
            if answer.status_code >= 500 or answer.headers["content-type"] != "application/json":
                faults.append((method, route.path, body, query, answer.text))
    assert faults == []


def test_a_key_is_needed_and_only_for_ones_own_account(ask: Ask, call: Call):
    open_to = []
    for route in routes():
        method = min(route.methods)
        if ask(method, address(route, "x")[1:]).status_code != 401:
            open_to.append((method, route.path, "nobody"))
        # Of other accounts, registered base models alone can be seen.
        public = (method == "GET" and route.path.endswith(("/models", "/models/{model_id}"))) or "prepare" in route.path
        if call(method, address(route, "x", "another")).status_code not in ((200, 404) if public else (403,)):
            open_to.append((method, route.path, "another"))
    assert open_to == []
