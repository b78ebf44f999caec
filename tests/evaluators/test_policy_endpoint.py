"""The policy's own address: OpenAI's chat completions over a unix socket, one conversation for each rollout."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tunesmith.core.types import SamplingParams
from tunesmith.rollout.conversation import Conversation
from tunesmith.services.engine import build_engine
from tunesmith.services.names import embedded_model
from tunesmith.services.policy_endpoint import Line, PolicyEndpoint, address_of, model_of

ASKED = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture(scope="module")
def engine() -> Any:
    return build_engine(embedded_model(), lora_rank=4)


def posted(engine: Any, folder: Path, *requests: tuple[str, Any]) -> tuple[list[httpx2.Response], Conversation]:
    """Answers to POST requests, one after the other on one connection, and the conversation of rollout ``ab12``."""

    async def all_of_them() -> tuple[list[httpx2.Response], Conversation]:
        params = SamplingParams(max_tokens=24, temperature=0.7, seed=5)
        line = Line(lambda: Conversation(engine.sampler, engine.renderer, params, 200))
        endpoint = PolicyEndpoint(engine.renderer)
        endpoint.lines["ab12"] = line
        await endpoint.start(folder / "policy.sock")
        transport = httpx2.AsyncHTTPTransport(uds=str(folder / "policy.sock"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://policy") as client:
            found = [await client.post(path, json=body) for path, body in requests]
        await endpoint.close()
        return found, line.conversation

    return asyncio.run(all_of_them())


def test_an_answer_is_what_was_sampled(engine: Any, tmp_path: Path):
    path = address_of("ab12") + "/chat/completions"
    (answer,), conversation = posted(engine, tmp_path, (path, {"model": "any", "messages": ASKED, "logprobs": True}))
    body = answer.json()
    (choice,), (segment,) = body["choices"], conversation.segments
    assert segment.tokens.tolist() == body["prompt_token_ids"] + choice["token_ids"]
    numbers = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    assert np.array_equal(np.float32(numbers), segment.logprobs[segment.sampled])
    assert choice["message"]["content"] == engine.renderer.decode(choice["token_ids"])
    assert body["usage"]["completion_tokens"] == len(choice["token_ids"]) and choice["finish_reason"] == "stop"


def test_turns_of_one_rollout_are_tied_by_address_or_by_model(engine: Any, tmp_path: Path):
    first = {"model": model_of("ab12"), "messages": ASKED}
    (one,), _ = posted(engine, tmp_path, ("/v1/chat/completions", first))
    said = one.json()["choices"][0]["message"]
    second = {"model": "x", "messages": [*ASKED, said, {"role": "user", "content": [{"type": "text", "text": "And?"}]}]}
    address = address_of("ab12") + "/chat/completions"
    folder = tmp_path / "again"
    folder.mkdir()
    found, conversation = posted(engine, folder, ("/v1/chat/completions", first), (address, second))
    assert [f.status_code for f in found] == [200, 200]
    assert len(conversation.segments) == 1 and len(conversation.turns) == 2


def test_a_streamed_answer_says_the_same(engine: Any, tmp_path: Path):
    path = "/rollout_id/ab12/row_id/w/chat/completions"
    asked = {"model": "any", "messages": ASKED}
    (whole,), _ = posted(engine, tmp_path, (path, asked))
    folder = tmp_path / "again"
    folder.mkdir()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    (streamed,), conversation = posted(engine, folder, (path, {**asked, **options}))
    assert streamed.headers["content-type"] == "text/event-stream" and len(conversation.turns) == 1
    *lines, last = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    said, over, usage = map(json.loads, lines)
    (choice,) = whole.json()["choices"]
    assert last == "[DONE]" and usage["usage"] == whole.json()["usage"]
    assert said["choices"][0]["delta"] == choice["message"] and said["choices"][0]["token_ids"] == choice["token_ids"]
    assert over["choices"][0]["finish_reason"] == choice["finish_reason"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/rollout/ab12/v1/chat/completions", {"messages": ASKED, "n": 2}, 400, "n: is not supported"),
        (
            "/rollout/ab12/v1/chat/completions",
            {"messages": ASKED, "tool_choice": "required"},
            400,
            "Leave it out, or give 'auto' or 'none'",
        ),
        (
            "/rollout/ab12/v1/chat/completions",
            {"messages": ASKED, "response_format": {"type": "json_object"}},
            400,
            "response_format: is not supported",
        ),
        ("/rollout/ab12/v1/chat/completions", {"messages": []}, 400, "there are none"),
        ("/rollout/ab12/v1/chat/completions", {"nothing": 1}, 400, "cannot be read"),
        ("/rollout/ab12/v1/chat/completions", [], 400, "cannot be read"),
        ("/rollout/cd34/v1/chat/completions", {"messages": ASKED}, 404, "no such rollout"),
        ("/v1/chat/completions", {"model": "gpt-4", "messages": ASKED}, 404, "no such rollout"),
        ("/v1/completions", {"prompt": "a"}, 404, "no such address"),
    ],
)
def test_refusals(engine: Any, tmp_path: Path, path: str, body: Any, status: int, words: str):
    (answer,), conversation = posted(engine, tmp_path, (path, body))
    assert answer.status_code == status and words in answer.json()["error"]["message"]
    assert not conversation.turns
