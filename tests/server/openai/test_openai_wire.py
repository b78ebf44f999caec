"""Requests by hand: tuned models and checkpoints by name, clients that leave, tools, and the first 50 milliseconds."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import psutil
import pytest
import torch
from clients.wire import Wire, checked, forward_backward, plain_datum
from server.running import RunningServer
from starlette.exceptions import HTTPException

from tunesmith.core.errors import Conflict
from tunesmith.models.folder import load_model
from tunesmith.models.lora import new_adapter
from tunesmith.models.peft_format import save_adapter
from tunesmith.server.dialects.openai.envelope import render
from tunesmith.server.dialects.openai.generation import MOST_RUNNING, check_room
from tunesmith.server.dialects.refusals import refusal_of
from tunesmith.services.keys import Keys
from tunesmith.services.names import embedded_model
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Store, file_url, open_store
from tunesmith.services.tuned_models import TunedModels

CHAT = {"messages": [{"role": "user", "content": "What is 17+25?"}], "temperature": 0, "max_tokens": 8}
Ask = Callable[..., httpx2.Response]
CALLER = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def ask(server: RunningServer) -> Iterator[Ask]:
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
        yield client.request


@pytest.fixture(scope="module")
def store(server: RunningServer) -> Iterator[Store]:
    opened = open_store(file_url(server.data_dir))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tuned(server: RunningServer, store: Store) -> TunedModels:
    """As another process of the same machine sees them."""
    return TunedModels(store, Registry(store), server.data_dir / "tuned")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters that say something else than their base, each in its own way."""
    model = load_model(embedded_model(), torch.device("cpu"), torch.float32)
    folders = []
    for seed in range(6):
        adapter = new_adapter(list(model.targets(False)), 4, seed, torch.device("cpu"))
        generator = torch.Generator().manual_seed(seed)
        for pair in adapter.pairs.values():
            pair.b.data.copy_(torch.randn(pair.b.shape, generator=generator))
        folders.append(tmp_path_factory.mktemp("adapter") / "adapter")
        save_adapter(adapter, folders[-1], str(embedded_model()))
    return folders


def chat(ask: Ask, model: str, **more: Any) -> Any:
    answer = ask("POST", "/v1/chat/completions", json={"model": model, **CHAT, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def said(ask: Ask, model: str, **more: Any) -> str:
    return str(chat(ask, model, **more)["choices"][0]["message"]["content"])


def processor_s(server: RunningServer) -> float:
    """What the server and its engines have computed so far: other programs do not count."""
    assert server.process is not None
    own = psutil.Process(server.process.pid)
    return float(sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True))))


def test_a_tuned_model_answers_at_once_and_is_gone_when_removed(server, ask, tuned, adapters):
    base = said(ask, EMBEDDED)
    seconds, texts = [], []
    for i, folder in enumerate(adapters):
        began = processor_s(server)
        tuned.add("default", f"poet-{i}", EMBEDDED, folder)
        chat(ask, f"poet-{i}", max_tokens=1)
        seconds.append(processor_s(server) - began)
        texts.append(said(ask, f"poet-{i}"))
    # One of them at least did not meet something else that the server does.
    assert min(seconds) < 0.05
    assert base not in texts and len(set(texts)) == len(texts)
    listed = ask("GET", "/v1/models").json()["data"]
    assert {m["id"] for m in listed} == {EMBEDDED, *(f"poet-{i}" for i in range(len(adapters)))}
    assert ask("GET", "/v1/models/poet-0").json()["parent"] == EMBEDDED
    assert ask("DELETE", "/v1/models/poet-0").json() == {"id": "poet-0", "object": "model", "deleted": True}
    assert ask("POST", "/v1/chat/completions", json={"model": "poet-0", **CHAT}).status_code == 404
    tuned.add("default", "poet-0", EMBEDDED, adapters[1])
    assert said(ask, "poet-0") == texts[1]


def test_other_owners_know_nothing_of_it(server, store, ask, tuned, adapters):
    tuned.add("default", "secret", EMBEDDED, adapters[0])
    with httpx2.Client(base_url=server.base_url, headers={"x-api-key": Keys(store).create("bob")}) as bob:
        refused = bob.post("/v1/chat/completions", json={"model": "secret", **CHAT})
        assert refused.status_code == 404 and "poet" not in refused.text
        assert [m["id"] for m in bob.get("/v1/models").json()["data"]] == [EMBEDDED]


def test_a_whole_model_by_name(ask, tuned, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in embedded_model().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tuned.add("default", "whole", EMBEDDED, folder)
    assert said(ask, "whole") == said(ask, EMBEDDED)


def test_a_checkpoint_by_its_path_and_by_its_new_name(ask, tuned, store, server):
    """What was trained answers under its path; promoted, it outlives the checkpoint."""
    with Wire(server.base_url, server.key) as wire:
        model = wire.policy(wire.session(), EMBEDDED)
        passed = checked(wire.post("forward_backward", forward_backward(model, 1, [plain_datum(range(5, 40))])))
        wire.result(passed["request_id"])
        wire.result(wire.optim_step(model, 2, rate=1e6)["request_id"])
        asked = {"model_id": model, "path": "learned", "seq_id": 3, "type": "save_weights_for_sampler"}
        path = wire.result(checked(wire.post("save_weights_for_sampler", asked))["request_id"])["path"]
    learned = said(ask, path)
    assert learned != said(ask, EMBEDDED)
    vault = Vault(store, server.data_dir / "training" / "checkpoints")
    promoted = tuned.promote("default", "learned", vault, path)
    with pytest.raises(Conflict, match="is the name of"):
        tuned.promote("default", "learned", vault, path)
    vault.delete(path, "default")
    assert ask("POST", "/v1/chat/completions", json={"model": path, **CHAT}).status_code == 404
    assert said(ask, "learned") == learned
    assert ask("DELETE", "/v1/models/learned").status_code == 200
    assert not promoted.folder.exists()


def test_the_fireworks_route_knows_the_same_names(ask, tuned, adapters):
    tuned.add("default", "poet-x", EMBEDDED, adapters[2])
    body = {"model": "poet-x", "prompt": "1+1=", "temperature": 0, "max_tokens": 4}
    texts = [
        ask("POST", f"{root}/completions", json=body).json()["choices"][0]["text"] for root in ("/v1", "/inference/v1")
    ]
    assert texts[0] == texts[1]


def running(ask: Ask) -> int:
    return int(ask("GET", "/tunesmith/v1/status").json()["sampling"])


def until_idle(ask: Ask) -> float:
    began = time.perf_counter()
    while running(ask):
        assert time.perf_counter() - began < 10, "it goes on"
        time.sleep(0.01)
    return time.perf_counter() - began


LONG = {"model": EMBEDDED, "prompt": "Hello", "max_tokens": 4000, "temperature": 0, "n": 4}
"""What this model continues without an end: seconds of work."""


def test_a_client_that_leaves_a_stream_ends_it(server, ask):
    client = httpx2.Client(base_url=server.base_url, headers={"x-api-key": server.key}, timeout=60)
    with client, client.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert json.loads(next(lines).removeprefix("data: "))["object"] == "text_completion"
        assert running(ask) == 1
    assert until_idle(ask) < 5


def test_a_client_that_leaves_before_the_answer_ends_it(server, ask):
    headers = {"x-api-key": server.key}
    with (
        httpx2.Client(base_url=server.base_url, headers=headers, timeout=0.5) as client,
        pytest.raises(httpx2.ReadTimeout),
    ):
        client.post("/v1/completions", json=LONG)
    assert until_idle(ask) < 5


@pytest.fixture(scope="module")
def caller(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded model with a template that shows tools."""
    folder = tmp_path_factory.mktemp("caller")
    for file in embedded_model().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": CALLER}), "utf-8")
    Registry(store).add("tests/caller", folder)
    return "tests/caller"


def test_tools_reach_the_template(ask, caller):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with_tools, without = chat(ask, caller, tools=[tool]), chat(ask, caller, tools=[tool], tool_choice="none")
    assert with_tools["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 10
    assert isinstance(with_tools["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": ["a"]},
        {"messages": [{"content": "a"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": {"a": 1}}]},
        {"model": "\0"},
        {"model": "tinker://../weights/x"},
        {"model": "accounts/default/deployments/none"},
        {"model": "accounts/somebody/deployments/none"},
        {"temperature": "hot"},
        {"stop": [""]},
        {"stop": 5},
        {"top_logprobs": 2},
        {"max_tokens": 0},
        {"n": 10**30},
        {"stream_options": 7},
        {"tools": [7]},
        {"tools": [{}], "tool_choice": {"type": "function"}},
        {"": 1},
    ],
)
def test_what_cannot_be_is_refused(ask, more):
    answer = ask("POST", "/v1/chat/completions", content=json.dumps({"model": EMBEDDED, **CHAT} | more))
    assert answer.status_code in (400, 403, 404)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_more_than_can_be_in_hand_is_to_come_again():
    check_room(SimpleNamespace(running=MOST_RUNNING - 1))
    with pytest.raises(HTTPException) as refused:
        check_room(SimpleNamespace(running=MOST_RUNNING))
    answer = render(refusal_of(refused.value))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert json.loads(answer.body)["error"]["code"] == "rate_limit_exceeded"
