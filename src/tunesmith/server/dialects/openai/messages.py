"""``POST /messages``: a chat completion in the words of Anthropic's clients, and nothing but the words is here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.core.errors import UserError
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.openai.chat import work_of
from tunesmith.server.dialects.openai.generation import streamed, whole
from tunesmith.server.dialects.openai.messages_answer import Answer, events, render
from tunesmith.server.dialects.openai.requests import ChatRequest
from tunesmith.server.dialects.refusals import rendering
from tunesmith.server.dialects.weights import renderer_of
from tunesmith.server.errors import explain
from tunesmith.server.routing import Router

router = Router(route_class=rendering(render))
CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "any": "required"}
"""Kind of tool choice -> the same among chat completions; the kind ``tool`` names one."""
SAME = ("model", "max_tokens", "temperature", "top_k", "top_p", "stream")


class MessagesRequest(BaseModel):
    """What is not here is refused by name where it would change an answer."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    system: str | list[dict[str, Any]] = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    stream: bool = False
    stop_sequences: list[str] = []
    tools: list[dict[str, Any]] = []
    tool_choice: dict[str, Any] = {"type": "auto"}
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    raw_output: bool | None = None


@router.post("/messages", response_model=None)
async def messages(request: Request, owner: Owner) -> Response:
    """The next message of a conversation, whole or as events."""
    given = chat_request(await read_json(request, MessagesRequest))
    work = await work_of(request, owner, given)
    renderer = renderer_of(request, work.live)
    answer = Answer(given.model, sum(map(len, work.prompts)), given.stop, renderer.decode)
    if not given.stream:
        body = json.loads(bytes((await whole(request, work)).body))
        return Response(json.dumps(answer.whole(body["choices"][0], body["usage"])), media_type="application/json")
    response = await streamed(request, work, with_usage=True)
    response.body_iterator = events(answer, response.body_iterator)
    return response


def chat_request(given: MessagesRequest) -> ChatRequest:
    """
    Raises:
        UserError: what has no equal among chat completions.
    """
    if given.thinking is not None and given.thinking.get("type") != "disabled":
        raise UserError(
            "thinking", "is not supported by this server", "Leave it out: models think as they were trained"
        )
    if given.raw_output:
        raise UserError("raw_output", "is not to be had here", "Ask for it with chat/completions")
    kind = given.tool_choice.get("type")
    chosen = {"type": "function", "function": {"name": given.tool_choice.get("name")}} if kind == "tool" else None
    if chosen is None and kind not in CHOICES:
        raise UserError("tool_choice.type", f"cannot be {kind!r:.40}", f"Give tool or one of {', '.join(CHOICES)}")
    body = {name: getattr(given, name) for name in SAME} | dict(given.model_extra or {})
    body |= {
        "messages": list(_conversation(given)),
        "stop": given.stop_sequences,
        "tools": [_tool(i, tool) for i, tool in enumerate(given.tools)],
        "tool_choice": chosen or CHOICES[str(kind)],
        "parallel_tool_calls": not given.tool_choice.get("disable_parallel_tool_use", False),
        "response_format": _format(given.output_config),
        "return_token_ids": True,  # for the text that it stopped at
    }
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as e:
        raise explain(e, "body") from None


def _conversation(given: MessagesRequest) -> Iterator[dict[str, Any]]:
    """The messages, each result of a tool as one of its own."""
    if system := _text("system", given.system):
        yield {"role": "system", "content": system}
    for i, message in enumerate(given.messages):
        where, content = f"messages.{i}", message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise UserError(f"{where}.content", "is neither a text nor a list of blocks", "Give one of them")
        if message.get("role") == "assistant":
            yield _said(where, blocks)
        elif message.get("role") == "user":
            yield from _asked(where, blocks)
        else:
            raise UserError(f"{where}.role", f"cannot be {message.get('role')!r:.40}", "Give user or assistant")
    if given.messages[-1].get("role") == "assistant":
        problem = "end with the assistant's own words, which a reply cannot go on from here"
        raise UserError("messages", problem, "End with the user's, or ask for a completion of a text")


def _asked(where: str, blocks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    results = [block for block in blocks if block.get("type") == "tool_result"]
    for block in results:
        content = _text(f"{where}.content", block.get("content") or "")
        yield {"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": content}
    rest = [block for block in blocks if block.get("type") != "tool_result"]
    if rest or not results:
        yield {"role": "user", "content": _text(f"{where}.content", rest)}


def _said(where: str, blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What it called, and what it said; its thoughts are left out, as templates do."""
    calls = [
        {
            "id": str(block.get("id", "")),
            "type": "function",
            "function": {"name": str(block.get("name", "")), "arguments": json.dumps(block.get("input", {}))},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    left = [block for block in blocks if block.get("type") not in ("tool_use", "thinking", "redacted_thinking")]
    message = {"role": "assistant", "content": _text(f"{where}.content", left)}
    return message | ({"tool_calls": calls} if calls else {})


def _text(where: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    for i, block in enumerate(content):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            kind = block.get("type") if isinstance(block, dict) else block
            raise UserError(f"{where}.{i}", f"is {kind!r:.40}, and this server reads text alone", "Leave it out")
    return "".join(block["text"] for block in content)


def _tool(number: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom" or not isinstance(tool.get("name"), str):
        problem = f"is of a kind that this server has not ({tool.get('type')!r:.40})"
        raise UserError(f"tools.{number}", problem, "Give name, description and input_schema of a tool of your own")
    described = {"description": tool["description"]} if tool.get("description") else {}
    function = {"name": tool["name"], **described, "parameters": tool.get("input_schema") or {"type": "object"}}
    return {"type": "function", "function": function}


def _format(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What an answer has to look like, as chat completions are told."""
    if not config:
        return None
    wanted = config.get("format")
    kind: Literal["json_schema"] = "json_schema"
    if set(config) != {"format"} or not isinstance(wanted, dict) or wanted.get("type") != kind:
        raise UserError("output_config", "holds more than a format of type json_schema", "Leave the rest out")
    return {"type": kind, kind: {"name": "output", "schema": wanted.get("schema")}}
