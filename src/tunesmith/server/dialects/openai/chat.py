"""``POST /chat/completions``: the next message of a conversation, as the model's own template writes it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from secrets import token_hex
from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.core.types import Ints
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.tool_calls import Notation, calls_grammar, notation_of
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.openai import tool_choice
from tunesmith.server.dialects.openai.choices import ChatChoice, Pieces
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.openai.generation import Work, check_room, streamed, whole
from tunesmith.server.dialects.openai.requests import ChatRequest, check
from tunesmith.server.dialects.weights import find_weights, renderer_of
from tunesmith.services.sessions.sessions import Sessions

router = new_router()
OBJECTS = ("chat.completion", "chat.completion.chunk")


@router.post("/chat/completions", response_model=None)
async def chat_completions(request: Request, owner: Owner) -> Response:
    """n replies to a conversation."""
    given = await read_json(request, ChatRequest)
    return await answered(request, given, await work_of(request, owner, given))


async def work_of(request: Request, owner: str, given: ChatRequest) -> Work:
    """What is to be drawn for a conversation.

    Raises:
        UserError: a setting, message or model that is refused. HTTPException: too much is in hand.
    """
    sessions: Sessions = request.app.state.sessions
    check(given)
    check_room(sessions.samplers)
    live = find_weights(request, owner, given.model)
    renderer = await asyncio.to_thread(renderer_of, request, live)
    prompt, notation, grammar = await asyncio.to_thread(_prompt, given, renderer)
    params = given.params(
        given.limit if given.limit is not None else max(1, live.context - len(prompt)), given.top_logprobs
    )
    pieces = Pieces(renderer)
    return Work(
        samplers=sessions.samplers,
        live=live,
        prompts=[prompt],
        params=[replace(params, grammar=grammar) if grammar else params],
        n=given.n,
        frame={"id": f"chatcmpl-{token_hex(16)}", "created": int(time.time()), "model": given.model},
        first={"prompt_token_ids": prompt.tolist()} if given.return_token_ids else {},
        object=OBJECTS,
        choices=[ChatChoice(i, given, renderer, pieces, notation) for i in range(given.n)],
    )


async def answered(request: Request, given: ChatRequest, work: Work) -> Response:
    return await (streamed(request, work, given.stream_options.include_usage) if given.stream else whole(request, work))


def _prompt(given: ChatRequest, renderer: ChatRenderer) -> tuple[Ints, Notation | None, str]:
    """The conversation as ids, how calls are written where there are tools to call, and the grammar of a forced one."""
    messages = [_message(i, message) for i, message in enumerate(given.messages)]
    forced = tool_choice.forced(given)
    if not given.tools or given.tool_choice == "none":
        return renderer.prompt(messages), None, ""
    notation = notation_of(renderer, given.tools)
    several = given.parallel_tool_calls and given.tool_choice in tool_choice.ANY
    grammar = calls_grammar(notation, forced, several) if forced else ""
    return renderer.prompt(messages, given.tools), notation, grammar


def _message(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its text in one piece; a developer speaks as the system."""
    out = {key: value for key, value in message.items() if value is not None}
    where = f"messages[{index}]"
    if not isinstance(out.get("role"), str):
        raise UserError(where, "has no role", "Say who speaks: system, user, assistant or tool")
    if out["role"] == "developer":
        out["role"] = "system"
    content = out.get("content", "" if out["role"] == "assistant" else None)
    if isinstance(content, list):
        content = "".join(_text(f"{where}.content[{i}]", part) for i, part in enumerate(content))
    if not isinstance(content, str):
        raise UserError(f"{where}.content", f"is no text (got {content!r:.60})", "Give a text, or parts of type text")
    return out | {"content": None if out.get("tool_calls") and not content else content}


def _text(where: str, part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise UserError(where, f"is no part of type text (got {part!r:.60})", "These models read text alone")
    return str(part["text"])
