"""Replies that have to be calls: by any of the functions or by one, over the wire and by draws of all kinds."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from server.openai.test_openai_wire import CALLER
from server.running import RunningServer

from tunesmith.core.errors import UserError
from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.models.grammar import Grammars
from tunesmith.models.tool_calls import BARE, TAGGED, Notation, calls_grammar
from tunesmith.server.dialects.openai.requests import ChatRequest
from tunesmith.server.dialects.openai.tool_choice import forced
from tunesmith.services.names import embedded_model
from tunesmith.services.registry import Registry
from tunesmith.services.store import file_url, open_store

SWITCH = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}},
    "required": ["on"],
    "additionalProperties": False,
}
PICK = {"type": "object", "properties": {"at": {"enum": ["a", "b"]}}, "required": ["at"], "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "switch", "parameters": SWITCH}},
    {"type": "function", "function": {"name": "pick", "parameters": PICK}},
]
ARGUMENTS = {"switch": ({"on": True}, {"on": False}), "pick": ({"at": "a"}, {"at": "b"})}


@pytest.fixture(scope="module")
def renderer() -> ChatRenderer:
    return load_renderer(embedded_model())


@pytest.fixture(scope="module")
def chat(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., httpx2.Response]]:
    """``chat(tool_choice="required")``: an answer of the embedded model with a template that shows tools."""
    folder = tmp_path_factory.mktemp("chooser")
    for file in embedded_model().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": CALLER}), "utf-8")
    store = open_store(file_url(server.data_dir))
    Registry(store).add("tests/chooser", folder)
    store.close()
    body = {"model": "tests/chooser", "messages": [{"role": "user", "content": "on"}], "tools": TOOLS, "max_tokens": 90}
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
        yield lambda **more: client.post("/v1/chat/completions", json=body | more)


def walks(renderer: ChatRenderer, grammar: str, count: int = 20) -> Iterator[str]:
    """Texts of tokens drawn at random from those that are allowed, each to its end."""
    grammars = Grammars(renderer.tokenizer, len(renderer.tokenizer), renderer.stop_ids)
    for seed in range(count):
        drawn, match, ids = random.Random(seed), grammars.begin(grammar), []
        while (token := drawn.choice(np.flatnonzero(match.allowed()).tolist())) not in renderer.stop_ids:
            match.take(token)
            ids.append(token)
        yield renderer.decode(np.array(ids, np.int32))


@pytest.mark.parametrize("notation", [TAGGED, BARE])
def test_whatever_is_drawn_is_calls_of_the_schema(renderer: ChatRenderer, notation: Notation) -> None:
    lengths = set()
    for text in walks(renderer, calls_grammar(notation, TOOLS, True)):
        calls = notation.read(text)
        assert calls and notation.begins(text) == 0
        assert all(json.loads(call.arguments) in ARGUMENTS[call.name] for call in calls)
        lengths.add(len(calls))
    assert {1, 2} <= lengths
    assert all(len(notation.read(text)) == 1 for text in walks(renderer, calls_grammar(notation, TOOLS[:1], False)))


@pytest.mark.parametrize("choice", ["required", "any", {"type": "function", "function": {"name": "pick"}}])
def test_a_reply_is_a_call(chat: Callable[..., httpx2.Response], choice: Any) -> None:
    answer = chat(tool_choice=choice, parallel_tool_calls=False, temperature=1, seed=3).json()
    [one] = answer["choices"]
    assert one["finish_reason"] == "tool_calls" and one["message"]["content"] is None
    [call] = one["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) in ARGUMENTS[call["function"]["name"]]
    assert isinstance(choice, str) or call["function"]["name"] == "pick"


def test_a_stream_tells_the_call(chat: Callable[..., httpx2.Response]) -> None:
    lines = chat(tool_choice="required", parallel_tool_calls=False, stream=True).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    told = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", [])]
    assert [call["function"]["name"] in ARGUMENTS for call in told] == [True]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_schema_that_cannot_be_enforced_is_refused(chat: Callable[..., httpx2.Response]) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "minProperties": "x"}}}
    answer = chat(tools=[odd], tool_choice="required")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")


@pytest.mark.parametrize(
    ("more", "where", "words"),
    [
        ({"tool_choice": "maybe"}, "tool_choice", "can't be 'maybe'"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "can't be"),
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice", "unknown 'none'"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "there are no tools"),
        ({"tool_choice": "required", "tools": [{}]}, "tools[0]", "is no function with a name"),
        ({"tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice", "for something else"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", "enforced only where a call is"),
    ],
)
def test_choices_that_cannot_be_kept_are_refused(more: dict[str, Any], where: str, words: str) -> None:
    given = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": TOOLS, **more}
    with pytest.raises(UserError, match=words) as refused:
        forced(ChatRequest.model_validate(given))
    assert refused.value.where == where
