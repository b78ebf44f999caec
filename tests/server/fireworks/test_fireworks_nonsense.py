"""Whatever is sent to Fireworks' wire is answered in words: a 4xx or a failed future, never a 5xx, never a hang."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.running import RunningServer

MODEL = "tunesmith/embedded"
ROOT = "/training/v1/serverless/api/v1"
FEW, MANY = 60, 1_500
"""Requests in the fast test and in the slow one."""
SECONDS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}
ODD: list[Any] = [None, True, -1, 0, 2**31, 10**30, 0.5, 1e308, "", "\ud800", "x" * 300, "a/b/c", "run-", [], [[]], {}]
DATUM = {
    "model_input": {"chunks": [{"type": "encoded_text", "tokens": [5, 6]}], "routing_matrices": None},
    "loss_fn_inputs": {
        "target_tokens": {"data": [6, 7], "dtype": "int64", "shape": [2]},
        "weights": {
            "data": [1.0, 0.5],
            "dtype": "float32",
            "shape": [1, 2],
            "sparse_crow_indices": [0, 2],
            "sparse_col_indices": [0, 1],
        },
    },
}
PASS = {"data": [DATUM], "loss_fn": "cross_entropy", "loss_fn_config": {"beta": 0.1}}
COMPLETION = {"model": MODEL, "prompt": [5], "max_tokens": 2, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "n": 1}
BODIES: dict[str, Any] = {
    f"{ROOT}/create_session": {"tags": [], "user_metadata": {}, "sdk_version": "0"},
    f"{ROOT}/session_heartbeat": {"session_id": "ts-0"},
    f"{ROOT}/create_model": {"session_id": "ts-0", "model_seq_id": 1, "base_model": MODEL, "lora_config": {"rank": 4}},
    f"{ROOT}/get_info": {"model_id": "MODEL"},
    f"{ROOT}/forward": {"model_id": "MODEL", "seq_id": 1, "forward_input": PASS},
    f"{ROOT}/forward_backward": {"model_id": "MODEL", "seq_id": 1, "forward_backward_input": PASS},
    f"{ROOT}/optim_step": {"model_id": "MODEL", "seq_id": 1, "adam_params": {"learning_rate": 0.1, "eps": 1e-8}},
    f"{ROOT}/save_weights": {"model_id": "MODEL", "seq_id": 1, "path": "x", "ttl_seconds": 4000, "overwrite": False},
    f"{ROOT}/save_weights_for_sampler": {"model_id": "MODEL", "seq_id": 1, "path": "x", "checkpoint_type": "base"},
    f"{ROOT}/load_weights": {"model_id": "MODEL", "seq_id": 1, "path": "default/run-0/x", "optimizer": True},
    f"{ROOT}/weights_info": {"tinker_path": "default/run-0/x"},
    f"{ROOT}/retrieve_future": {"request_id": "MODEL:1"},
    f"{ROOT}/create_sampling_route": {"base_model": MODEL},
    f"{ROOT}/create_sampling_session": {"session_id": "ts-0", "sampling_session_seq_id": 0, "model_path": "x"},
    f"{ROOT}/asample": {"sampling_session_id": "x", "seq_id": 1, "prompt": {"chunks": []}, "num_samples": 1},
    "/inference/v1/completions": COMPLETION
    | {"echo": True, "logprobs": True, "stop": ["x"], "seed": 1, "stream": True},
    "/v1/accounts/default/rlorTrainerJobs": {"trainingConfig": {"baseModel": MODEL, "loraRank": 4}},
    "/v1/accounts/default/deployments": {"baseModel": MODEL, "hotLoadTrainerJob": "", "maxReplicaCount": 1},
    "/hot_load/v1/models/hot_load": {"identity": "x"},
}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be put into a body: every member and item, however deep."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(value[key], (*at, key))


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Any]:
    """A good body with something odd in one or two places."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body = json.loads(json.dumps(BODIES[path]))
    for place in draw(st.lists(st.sampled_from(list(places(body))), min_size=1, max_size=2)):
        inner = body
        for key in place[:-1]:
            inner = inner[key] if isinstance(inner, dict) and key in inner else {}
        if isinstance(inner, dict) or (
            isinstance(inner, list) and isinstance(place[-1], int) and place[-1] < len(inner)
        ):
            inner[place[-1]] = draw(st.sampled_from(ODD))
    return path, body


class Prodder:
    """Sends requests with numbers of their own, so that each is a new one."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client, self.count = client, 0
        session = self.sent(f"{ROOT}/create_session", {}).json()["session_id"]
        body = {"session_id": session, "model_seq_id": 0, "base_model": MODEL, "lora_config": {"rank": 4}}
        made = self.sent(f"{ROOT}/create_model", body).json()
        self.model = made["model_id"]
        assert self.result(made["request_id"])["model_id"] == self.model

    def sent(self, path: str, body: Any) -> httpx2.Response:
        return self.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})

    def result(self, request_id: str) -> Any:
        while (found := self.sent(f"{ROOT}/retrieve_future", {"request_id": request_id})).status_code == 408:
            continue
        return found.json()

    def prod(self, path: str, body: Any) -> None:
        self.count += 1
        text = json.dumps(body).replace("MODEL", self.model)
        body = json.loads(text)
        if body.get("seq_id") == 1:
            body["seq_id"] = self.count
        answer = self.sent(path, body)
        shown = f"{path} {text[:500]}: {answer.status_code} {answer.text[:500]}"
        assert answer.status_code < 500, shown
        assert "Traceback" not in answer.text, shown
        if answer.status_code >= 400:
            assert answer.json()["detail"] == answer.json()["message"], shown
        elif "request_id" in answer.text:
            found = self.result(answer.json()["request_id"])
            assert found.get("category", "user") == "user", f"{shown}: {found}"


@pytest.fixture(scope="module")
def prodder(server: RunningServer) -> Iterator[Prodder]:
    with httpx2.Client(base_url=server.base_url, headers={"x-api-key": server.key}, timeout=60) as client:
        yield Prodder(client)


@settings(max_examples=FEW, **SECONDS)
@given(requests())
def test_odd_values(prodder: Prodder, request: tuple[str, Any]):
    prodder.prod(*request)


@pytest.mark.slow
@settings(max_examples=MANY, **SECONDS)
@given(requests())
def test_many_odd_values(prodder: Prodder, request: tuple[str, Any]):
    prodder.prod(*request)
