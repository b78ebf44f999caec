"""Whatever is sent, the answer is quick and in words, a 4xx where it is a mistake; no traceback leaves the server."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clients import nonsense
from clients.conftest import MODEL
from clients.nonsense import TOKENS, Ground
from clients.wire import Wire, checked, datum, forward_backward, plain_datum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.running import RunningServer

QUICK_S = 20.0
FEW, MANY = 60, 2_000
"""Requests of one kind in the fast tests and in the slow one."""
SECONDS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}
RETRIED = (408, 409, 425, 429)
"""Statuses that clients take for passing trouble and send again."""


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    with Wire(server.base_url, server.key) as wire:
        yield wire


@pytest.fixture(scope="module")
def ground(wire: Wire) -> Ground:
    session = wire.session()
    model = wire.policy(session, MODEL)
    saved = checked(
        wire.post("save_weights", {"model_id": model, "seq_id": 1, "path": "ground", "type": "save_weights"})
    )
    sampling = {"session_id": session, "sampling_session_seq_id": 0, "base_model": MODEL}
    sampler = checked(wire.post("create_sampling_session", sampling | {"type": "create_sampling_session"}))
    return Ground(session, model, sampler["sampling_session_id"], wire.result(saved["request_id"])["path"], MODEL)


def examined(wire: Wire, answer: httpx2.Response) -> int:
    """Fail unless the answer is as it has to be; an accepted request must come to a result. Returns the status."""
    shown = f"{answer.request.method} {answer.request.url.path} {answer.request.content[:300]!r}"
    assert answer.status_code < 500, f"{shown}: {answer.text[:500]}"
    assert "Traceback" not in answer.text, shown
    if answer.status_code >= 400:
        detail = answer.json().get("detail")
        assert isinstance(detail, str) and detail, shown
        assert answer.status_code not in RETRIED, f"{shown}: {answer.status_code} {detail}"
    elif "request_id" in answer.text and answer.request.url.path.rpartition("/")[2] != "retrieve_future":
        failed(wire, answer.json()["request_id"])
    return answer.status_code


def failed(wire: Wire, request_id: str) -> bool:
    """The future ended, and if it failed it was for the user's own reason, in words."""
    began = time.monotonic()
    result = wire.result(request_id)
    assert time.monotonic() - began < QUICK_S
    if isinstance(result, bytes) or "error" not in result:
        return False
    assert result["category"] == "user", result
    assert "Traceback" not in result["error"]
    return True


def refused(wire: Wire, answer: httpx2.Response) -> str:
    """The words of a refusal, at once or when its turn came."""
    if examined(wire, answer) >= 400:
        return str(answer.json()["detail"])
    result = wire.result(answer.json()["request_id"])
    assert not isinstance(result, bytes) and "error" in result, "it was accepted"
    return str(result["error"])


@pytest.mark.parametrize("name", nonsense.spoiled_datums())
def test_a_wrong_datum_is_refused(wire: Wire, ground: Ground, name: str):
    body = forward_backward(ground.model, 100 + seq_of(name), [nonsense.spoiled_datums()[name]], "importance_sampling")
    answer = wire.post("forward_backward", body)
    assert examined(wire, answer) == 400
    # The words name the place and the mend: `data[0].…: what is wrong. What to do`.
    assert answer.json()["detail"].startswith("data[0].")
    assert ". " in answer.json()["detail"]


def seq_of(name: str) -> int:
    return sorted([*nonsense.spoiled_datums(), *nonsense.SETTINGS]).index(name)


@pytest.mark.parametrize("name", nonsense.SETTINGS)
def test_a_wrong_setting_is_refused(wire: Wire, ground: Ground, name: str):
    good = datum(TOKENS[:-1], nonsense.columns())
    wrong = nonsense.SETTINGS[name]
    words = refused(
        wire, wire.post("forward_backward", forward_backward(ground.model, 200 + seq_of(name), [good], "ppo", wrong))
    )
    assert next(iter(wrong)) in words


@pytest.mark.parametrize("amount", [{"num_samples": 0}, {"num_samples": -1}, {"num_samples": 10**9}, {"seq_id": -1}])
def test_impossible_amounts_are_refused(wire: Wire, ground: Ground, amount: dict[str, int]):
    body = nonsense.bodies(ground)["asample"] | {"seq_id": 300} | amount
    assert next(iter(amount)) in refused(wire, wire.post("asample", body))


def test_the_number_of_an_earlier_request_opens_no_way_around_the_checks(wire: Wire, ground: Ground):
    body = nonsense.bodies(ground)["asample"] | {"seq_id": 350}
    examined(wire, wire.post("asample", body))
    assert "num_samples" in refused(wire, wire.post("asample", body | {"num_samples": 10**9}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -3),
        ("max_tokens", 10**9),
        ("temperature", -1.0),
        ("top_p", 1.5),
        ("top_k", -2),
        ("stop", [10**6]),
        ("stop", {"a": 1}),
        ("min_p", 0.1),
    ],
)
def test_impossible_sampling_settings_are_refused(wire: Wire, ground: Ground, setting: str, value: Any):
    body = nonsense.bodies(ground)["asample"]
    body |= {"seq_id": 400, "sampling_params": body["sampling_params"] | {setting: value}}
    assert refused(wire, wire.post("asample", body))


@pytest.mark.parametrize("tokens", [[], [384], [-1], [2**40], [5] * 5000])
def test_impossible_prompts_are_refused(wire: Wire, ground: Ground, tokens: list[int]):
    body = nonsense.bodies(ground)["asample"] | {"seq_id": 500}
    body["prompt"] = {"chunks": [{"tokens": tokens, "type": "encoded_text"}]}
    assert refused(wire, wire.post("asample", body))


@pytest.mark.parametrize("key", [None, "", "tml-", "tml-" + "A" * 43, "x" * 5000])
def test_a_wrong_key_is_401(server: RunningServer, key: str | None):
    headers = {} if key is None else {"x-api-key": key}
    answer = httpx2.post(f"{server.base_url}/api/v1/create_session", json={"sdk_version": "0.38.0"}, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["detail"]


def test_what_belongs_to_another_is_not_there(server: RunningServer, wire: Wire, ground: Ground):
    """Another owner's key opens neither the session nor the policy, the sampler, the checkpoint or a result."""
    done = wire.optim_step(ground.model, 600)["request_id"]
    wire.result(done)
    with Wire(server.base_url, other_key(server)) as stranger:
        for endpoint, body in nonsense.bodies(ground).items():
            if endpoint not in ("create_session", "retrieve_future"):
                answer = stranger.post(endpoint, body)
                assert answer.status_code in (403, 404), f"{endpoint}: {answer.status_code} {answer.text[:200]}"
        mine = forward_backward(ground.model, 601, [plain_datum(TOKENS)])
        assert stranger.post("forward_backward", mine).status_code in (403, 404)
        assert stranger.post("retrieve_future", {"request_id": done}).status_code in (403, 404)
        for path in (f"training_runs/{ground.model}", f"sessions/{ground.session}", f"samplers/{ground.sampler}"):
            assert stranger.request("GET", path).status_code in (403, 404), path
        assert ground.model not in stranger.request("GET", "training_runs").text
        assert ground.state not in stranger.request("GET", "checkpoints").text


def other_key(server: RunningServer) -> str:
    """A key of another owner, made beside the running server."""
    tunesmith = Path(sys.executable).with_name("tunesmith")
    command = [str(tunesmith), "keys", "create", "--owner", "stranger", "--json", "--data-dir", str(server.data_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(json.loads(made.stdout)["key"])


@pytest.mark.parametrize("encoding", [{}, {"content-encoding": "zstd"}, {"content-encoding": "nonsense"}])
def test_bodies_that_are_too_large_or_not_what_they_say(wire: Wire, encoding: dict[str, str]):
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b"\0" * (1 << 20)

    headers = {"content-type": "application/x-protobuf"} | encoding
    try:
        answer = wire.request("POST", "forward_backward", content=endless(), headers=headers)
    except (httpx2.WriteError, httpx2.RemoteProtocolError, httpx2.ReadError):
        return  # the server may hang up on a body that it will not read to its end
    assert answer.status_code in (400, 413)
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "training_runs?limit=-1"),
        ("GET", "training_runs?limit=x&offset=y"),
        ("GET", "training_runs/none"),
        ("GET", "training_runs/none/checkpoints"),
        ("GET", "checkpoints?limit=1000000000000&offset=-4"),
        ("DELETE", "training_runs/none/checkpoints/weights/none"),
        ("PUT", "training_runs/none/checkpoints/weights/none/ttl"),
        ("GET", "training_runs/a%2F..%2Fb/checkpoints"),
        ("GET", "sessions/none"),
        ("GET", "samplers/none"),
        ("PATCH", "create_session"),
        ("GET", "no/such/thing"),
        ("POST", "retrieve_future"),
    ],
)
def test_odd_addresses(wire: Wire, method: str, path: str):
    assert 400 <= examined(wire, wire.request(method, path)) < 500


class Barrage:
    """Requests made up by hypothesis, counted."""

    def __init__(self, wire: Wire, ground: Ground) -> None:
        self._wire, self._ground = wire, ground
        self.sent = 0

    def json(self, count: int) -> None:
        @settings(max_examples=count, **SECONDS)
        @given(nonsense.spoiled_json(self._ground))
        def send(made: tuple[str, dict[str, Any]]) -> None:
            self._post(*made)

        send()

    def protobuf(self, count: int) -> None:
        good = forward_backward(self._ground.model, 10**8, [plain_datum(TOKENS)])

        @settings(max_examples=count, **SECONDS)
        @given(nonsense.spoiled_bytes(good))
        def send(body: bytes) -> None:
            self._post("forward_backward", body)

        send()

    def not_json(self, count: int) -> None:
        @settings(max_examples=count, **SECONDS)
        @given(st.sampled_from(sorted(nonsense.bodies(self._ground))), st.binary(max_size=60))
        def send(endpoint: str, body: bytes) -> None:
            headers = {"content-type": "application/json"}
            self._judge(self._wire.request("POST", endpoint, content=body, headers=headers))

        send()

    def _post(self, endpoint: str, body: Any) -> None:
        self._judge(self._wire.post(endpoint, body))

    def _judge(self, answer: httpx2.Response) -> None:
        self.sent += 1
        examined(self._wire, answer)


@pytest.mark.parametrize("kind", ["json", "protobuf", "not_json"])
def test_made_up_requests(wire: Wire, ground: Ground, kind: str):
    getattr(Barrage(wire, ground), kind)(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["json", "protobuf", "not_json"])
def test_thousands_of_made_up_requests(wire: Wire, ground: Ground, server: RunningServer, kind: str):
    """Six thousand, of three kinds."""
    barrage = Barrage(wire, ground)
    getattr(barrage, kind)(MANY)
    assert barrage.sent >= 0.9 * MANY
    assert "Traceback" not in server.log()
    # After all of it a user who does it right is served.
    assert wire.policy(wire.session(), MODEL)
