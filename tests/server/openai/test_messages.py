"""Anthropic's messages by hand: the same words as a chat completion of the same seed, whole and in events; refusals."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from server.running import RunningServer

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.openai.messages import MessagesRequest, chat_request
from tunesmith.server.dialects.openai.messages_answer import Answer, events

MODEL = "tunesmith/embedded"
ASKED = {
    "model": MODEL,
    "max_tokens": 24,
    "temperature": 0,
    "messages": [{"role": "user", "content": "What is 17+25?"}],
}
Ask = Callable[..., httpx2.Response]
TOOL = {"name": "add", "description": "Adds", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def ask(server: RunningServer) -> Iterator[Ask]:
    with httpx2.Client(base_url=server.base_url, headers={"x-api-key": server.key}, timeout=120) as client:
        yield lambda body, path="/v1/messages": client.post(path, json=body)


def told(text: str) -> list[dict[str, Any]]:
    """Events, each as its name says it."""
    found = []
    for event in filter(None, text.split("\n\n")):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.mark.thorough
def test_it_says_what_a_chat_completion_says(ask: Ask) -> None:
    chat = ask(ASKED, "/v1/chat/completions").json()
    text, usage = chat["choices"][0]["message"]["content"], chat["usage"]
    for path in ("/v1/messages", "/inference/v1/messages"):
        body = ask(ASKED, path).json()
        assert body["content"] == [{"type": "text", "text": text}] and text
        assert (body["type"], body["role"], body["model"], body["stop_reason"]) == (
            "message",
            "assistant",
            MODEL,
            "end_turn",
        )
        assert body["usage"] == {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    streamed = told(ask({**ASKED, "stream": True}).text)
    kinds = [event["type"] for event in streamed]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in streamed if e["type"] == "content_block_delta") == text
    assert streamed[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert streamed[-2]["usage"]["output_tokens"] == usage["completion_tokens"]
    word = text[1:3]
    for stream in (False, True):
        answer = ask({**ASKED, "stop_sequences": ["never", word], "stream": stream})
        ended = told(answer.text)[-2]["delta"] if stream else answer.json()
        assert (ended["stop_reason"], ended["stop_sequence"]) == ("stop_sequence", word)
    assert ask({**ASKED, "max_tokens": 1}).json()["stop_reason"] == "max_tokens"


@pytest.mark.thorough
def test_refusals_have_the_shape_of_that_wire(ask: Ask, server: RunningServer) -> None:
    for body, status, kind, says in (
        ({**ASKED, "model": "nobody"}, 404, "not_found_error", "nobody"),
        ({**ASKED, "tools": [TOOL]}, 400, "invalid_request_error", "does not tell it about tools"),
        ({**ASKED, "max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        ({**ASKED, "mood": "good"}, 400, "invalid_request_error", "mood"),
        ({"model": MODEL}, 400, "invalid_request_error", "messages"),
    ):
        answer = ask(body)
        error = answer.json()["error"]
        assert (answer.status_code, answer.json()["type"], error["type"]) == (status, "error", kind), answer.text
        assert says in error["message"]
    refused = httpx2.post(f"{server.base_url}/v1/messages", json=ASKED, headers={"x-api-key": "tml-wrong"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")


def test_what_a_conversation_with_tools_becomes() -> None:
    used = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
    given = MessagesRequest(
        model="m",
        system=[{"type": "text", "text": "Be "}, {"type": "text", "text": "brief.", "cache_control": {}}],
        messages=[
            {"role": "user", "content": "1+1?"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So"}, used],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}]},
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "add"},
        output_config={"format": {"type": "json_schema", "schema": {"type": "array"}}},
        metadata={"user_id": "u"},
    )
    chat = chat_request(given)
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert chat.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "So", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "user", "content": "And?"},
    ]
    function = {"name": "add", "description": "Adds", "parameters": {"type": "object"}}
    assert chat.tools == [{"type": "function", "function": function}]
    assert chat.tool_choice == {"type": "function", "function": {"name": "add"}}
    assert chat.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": {"type": "array"}},
    }


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"raw_output": True}, "raw_output"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice.type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0"),
        ({"output_config": {"effort": "low"}}, "output_config"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "The"}]}, "messages"),
        ({"top_p": 7}, "top_p"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(change: dict[str, Any], where: str) -> None:
    with pytest.raises((UserError, ValidationError)) as refused:
        chat_request(MessagesRequest(**{**ASKED, **change}))
    assert isinstance(refused.value, UserError) and refused.value.where == where


def test_a_call_is_a_block_of_its_own_and_a_late_failure_an_event() -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    chunks = [
        {"choices": [{"delta": {"role": "assistant", "content": "So"}, "finish_reason": None, "token_ids": [1]}]},
        {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls", "token_ids": [2]}]},
        {"choices": [], "usage": {"completion_tokens": 2}},
        {"error": {"type": "server_error", "message": "gone"}},
    ]

    async def said() -> Any:
        for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
        yield ": still at work\n\n"

    async def all_of_them() -> str:
        return "".join([event async for event in events(Answer("m", 5, (), str), said())])

    found = told(asyncio.run(all_of_them()))
    blocks = [e["content_block"] for e in found if e["type"] == "content_block_start"]
    assert blocks == [{"type": "text", "text": ""}, {"type": "tool_use", "id": "c1", "name": "add", "input": {}}]
    assert {"type": "input_json_delta", "partial_json": '{"a": 1}'} in [e.get("delta") for e in found]
    assert [e["index"] for e in found if e["type"] == "content_block_stop"] == [0, 1]
    assert found[-1] == {"type": "ping"} and found[-2]["error"] == {"type": "api_error", "message": "gone"}
    whole = Answer("m", 5, (), str).whole(
        {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls", "token_ids": [2]},
        {"completion_tokens": 2},
    )
    assert whole["content"] == [{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}]
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("tool_use", None)
