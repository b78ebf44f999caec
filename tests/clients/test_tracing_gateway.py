"""eval-protocol on a user's machine, with a remote server and this one as its tracing gateway."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from clients.environments import drive
from clients.remote_server import RemoteServer, remote_server
from server.running import RunningServer

pytestmark = pytest.mark.thorough
TEXTS = ["What is 17 + 25?", "plain: What is 3 + 4?", "fail", "silent", "refuse"]


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteServer]:
    with remote_server(tmp_path_factory.mktemp("remote")) as running:
        yield running


@pytest.fixture(scope="module")
def found(server: RunningServer, remote: RemoteServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What eval-protocol's own processor makes of each text, with a model that is in memory already."""
    warm = {"model": "tunesmith/embedded", "messages": [{"role": "user", "content": "1 + 1"}], "max_tokens": 1}
    assert asked(server, server.key, "POST", "/v1/chat/completions", json=warm, timeout=120).status_code == 200
    settings = {
        "gateway": server.base_url.replace("127.0.0.1", "localhost"),
        "remote": remote.base_url,
        "model": "accounts/tunesmith/models/embedded",
        "texts": TEXTS,
        "mark": "one",
        "seconds": 8,
    }
    return drive("eval-protocol", "remote_rollouts", server, tmp_path_factory.mktemp("home"), settings)


def test_a_rollout_comes_back_as_a_conversation(found: Any) -> None:
    two, one = found[0], found[1]
    assert [m["role"] for m in two["messages"]] == ["user", "assistant", "user", "assistant"]
    assert [m["role"] for m in one["messages"]] == ["user", "assistant"]
    assert two["status"] == one["status"] == 100 and two["said"] == "done"
    assert two["ids"] == ["r0-one", "u"] and two["extra"]["steps"] == 2


def test_each_turn_has_its_tokens_and_their_log_probabilities(found: Any) -> None:
    """What the client unpacked is what the server sampled, token by token."""
    turns = found[0]["extra"]["assistant_turn_payloads"]
    assert [turn["assistant_turn_index"] for turn in turns] == [0, 1]
    for turn, shown in zip(turns, found[0]["logprobs"], strict=True):
        ids, numbers = turn["completion_token_ids"], turn["completion_logprobs"]
        assert len(ids) == len(numbers) > 0 and all(x <= 0 for x in numbers)
        assert [entry["token_id"] for entry in shown["content"]] == ids
    first, second = turns
    assert second["prompt_token_ids"][: len(first["prompt_token_ids"])] == first["prompt_token_ids"]


def test_failures_reach_the_client_by_their_names(found: Any) -> None:
    failed, silent, refused = found[2:]
    assert failed["error"] == "InternalError: the tool broke"
    assert silent["status"] == 4 and "timed out" in silent["said"]
    assert refused["error"].startswith("ConnectionError: Remote /init returned server error (HTTP 500)")


def test_the_remote_server_is_told_what_the_reference_says(found: Any, remote: RemoteServer) -> None:
    body = remote.seen[0]
    assert set(body) == {"completion_params", "messages", "tools", "model_base_url", "metadata", "api_key"}
    ids = body["metadata"]
    for name in ("rollout_id", "invocation_id", "experiment_id", "run_id", "row_id"):
        assert f"/{name}/{ids[name]}" in body["model_base_url"]


def asked(server: RunningServer, key: str, method: str, path: str, **request: Any) -> httpx2.Response:
    return httpx2.request(
        method, server.base_url + path, headers={"authorization": f"Bearer {key}"}, **{"timeout": 60, **request}
    )


def test_others_see_nothing(found: Any, server: RunningServer) -> None:
    from tunesmith.services.keys import Keys
    from tunesmith.services.store import file_url, open_store

    store = open_store(file_url(server.data_dir))
    try:
        bob = Keys(store).create("bob")
    finally:
        store.close()
    tag = {"tags": "rollout_id:r0-one"}
    for path, empty in (("/v1/traces", "traces"), ("/traces/pointwise", "traces"), ("/logs", "entries")):
        assert asked(server, server.key, "GET", path, params=tag).json()[empty]
        assert asked(server, bob, "GET", path, params=tag).json()[empty] == []
        assert asked(server, "tml-wrong", "GET", path, params=tag).status_code == 401
    assert asked(server, bob, "GET", "/v1/status", params={"rollout_id": "r0-one"}).json()["status"] is None
    assert asked(server, server.key, "GET", "/status", params={"rollout_id": "r0-one"}).json()["status"]["code"] == 100


def test_another_provider_is_not_called(server: RunningServer) -> None:
    """The address that a client encodes is read, and refused unless it is this server's own."""
    import base64

    path = "/rollout_id/x/invocation_id/v/experiment_id/e/run_id/u/row_id/w/encoded_base_url/{}/chat/completions"
    body = {"model": "tunesmith/embedded", "messages": [{"role": "user", "content": "1 + 1"}], "max_tokens": 4}

    def answer(url: str) -> httpx2.Response:
        return asked(
            server, server.key, "POST", path.format(base64.urlsafe_b64encode(url.encode()).decode()), json=body
        )

    for url in ("http://169.254.169.254/latest", "https://api.openai.com/v1", "file:///etc/passwd", "http://[", ""):
        refused = answer(url)
        assert refused.status_code == 400 or not url, refused.text
    assert "completion_params.base_url" in answer("https://api.openai.com/v1").json()["error"]["message"]
    assert answer(server.base_url + "/inference/v1").status_code == 200


def test_a_streamed_call_is_kept_too(server: RunningServer) -> None:
    path = "/v1/rollout_id/s1/invocation_id/v/experiment_id/e/run_id/u/row_id/w/chat/completions"
    messages = [{"role": "user", "content": "What is 17 + 25?"}]
    body = {"model": "tunesmith/embedded", "messages": messages, "max_tokens": 24, "stream": True}
    events = asked(server, server.key, "POST", path, json=body).text.split("\n\n")
    parts = [json.loads(e.removeprefix("data: ")) for e in events if e.startswith("data: {")]
    text = "".join(c["delta"].get("content") or "" for part in parts for c in part["choices"])
    (trace,) = asked(server, server.key, "GET", "/v1/traces", params={"tags": "rollout_id:s1"}).json()["traces"]
    assert trace["output"]["content"] == text and trace["input"]["messages"] == messages


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("GET", "/logs", None, "tags"),
        ("GET", "/v1/traces/pointwise?limit=0&tags=a", None, "limit"),
        ("POST", "/logs", {"message": "x"}, "tags"),
        ("POST", "/logs", {"tags": ["a"], "status": {"code": "13"}}, "status"),
        ("POST", "/v1/logs", {"tags": ["a" * 300]}, "tags"),
    ],
)
def test_what_cannot_be_kept_or_found_is_refused(
    server: RunningServer, method: str, path: str, body: Any, words: str
) -> None:
    refused = asked(server, server.key, method, path, json=body)
    assert refused.status_code == 400 and words in refused.json()["detail"], refused.text
