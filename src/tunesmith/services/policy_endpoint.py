"""The policy of a running job for its own rollouts: OpenAI's chat completions on a unix socket.

Every rollout has an address of its own, ``/rollout/<id>/v1``, and a model of its own name for code that knows one
base address only; so the calls of a rollout are told from those of all others. A remote server's calls go below
``/rollout_id/<id>``.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import h11

from tunesmith.core.errors import UserError
from tunesmith.core.types import Completion
from tunesmith.models.chat import ChatRenderer
from tunesmith.rollout.conversation import Asked, Conversation, Turn
from tunesmith.services.gateway.front import Front, Records

MOST_BODY_BYTES = 64 << 20
ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "tool_choice": ("auto", "none"),
    "response_format": ({"type": "text"},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}
"""Fields that would change an answer -> what may be given. Training needs the policy's own choice of every token."""
_CHUNK = 1 << 16
_ADDRESS = re.compile(r"/rollout(?:_id)?/([0-9a-z-]+)/")
_MODEL = re.compile(r"rollout-([0-9a-z-]+)$")


def address_of(rollout: str) -> str:
    """The path that a rollout's calls go below."""
    return f"/rollout/{rollout}/v1"


def model_of(rollout: str) -> str:
    """The name of the policy for a rollout, with the prefix that tells litellm which wire to speak."""
    return f"fireworks_ai/accounts/tunesmith/models/rollout-{rollout}"


class Line:
    """A rollout's conversation, what is known of it besides, and when it was last answered."""

    def __init__(self, begin: Callable[[], Conversation]) -> None:
        self._begin = begin
        self.again()

    def again(self) -> None:
        """Forget what was said: the rollout begins anew."""
        self.conversation = self._begin()
        self.records = Records()
        self._waiting = 0
        self._answered = monotonic()

    def busy_since(self) -> float:
        """When the project was last given an answer; now while it waits for one."""
        return monotonic() if self._waiting else self._answered

    async def turn(self, body: Mapping[str, Any]) -> Turn:
        """
        Raises:
            UserError: a request that cannot be answered.
        """
        messages, tools, asked = read_request(body)
        self._waiting += 1
        try:
            return await self.conversation.reply(messages, tools, asked)
        finally:
            self._waiting -= 1
            self._answered = monotonic()


class PolicyEndpoint:
    """A server on a unix socket, within the event loop that samples."""

    def __init__(self, renderer: ChatRenderer) -> None:
        self.lines: dict[str, Line] = {}
        """By the rollout's id."""
        self.front: Front | None = None
        """For rollouts that are made elsewhere."""
        self._renderer = renderer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    def records_of(self, rollout: str) -> Records | None:
        line = self.lines.get(rollout)
        return None if line is None else line.records

    async def start(self, socket: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, socket)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        living = tuple(self._connections)
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        task = asyncio.current_task()
        assert task is not None, "a connection is a task"
        self._connections.add(task)
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await _request(connection, reader)) is not None:
                status, body = await self._answer(*request)
                writer.write(_response(connection, status, body))
                await writer.drain()
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, ConnectionError, ValueError):
            pass  # whoever speaks no HTTP gets no answer
        finally:
            with suppress(ConnectionError):
                writer.close()
                await writer.wait_closed()
            self._connections.discard(task)

    async def _answer(self, method: str, path: str, data: bytes) -> tuple[int, dict[str, Any] | str]:
        try:
            if method == "POST" and path.partition("?")[0].endswith("/chat/completions"):
                return await self._chat(path, json.loads(data))
            found = None if self.front is None else await self.front.answer(method, path, data)
            return found or (404, _error("no such address: POST chat/completions is what there is here"))
        except UserError as e:
            return 400, _error(str(e))
        except (ValueError, TypeError, AttributeError, LookupError) as e:
            return 400, _error(f"the request cannot be read: {e}")

    async def _chat(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        found = _ADDRESS.search(path) or _MODEL.search(str(body.get("model")))
        line = self.lines.get(found[1]) if found else None
        if line is None:
            return 404, _error("no such rollout: use the base address and the model of completion_params")
        turn = await line.turn(body)
        line.records.keep(path, body, turn)
        answer = response(turn, self._renderer, body)
        return 200, events(answer, body) if body.get("stream") else answer


def read_request(body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Asked]:
    """(messages, tools, how the answer is wanted). What changes no answer here is left alone.

    Raises:
        UserError: what would change an answer and is not to be had.
    """
    for name, good in ALLOWED.items():
        if (given := body.get(name)) is not None and given not in good:
            known = " or ".join(map(repr, good))
            raise UserError(name, f"is not supported in a rollout (got {given!r})", f"Leave it out, or give {known}")
    tools = body.get("tools") if body.get("tool_choice") != "none" else None
    stop = body.get("stop") or ()
    asked = Asked(
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )
    return [_message(m) for m in body["messages"]], list(tools or ()), asked


def response(turn: Turn, renderer: ChatRenderer, body: Mapping[str, Any]) -> dict[str, Any]:
    """A turn in OpenAI's shape, with its ids."""
    choice = {
        "index": 0,
        "message": turn.message,
        "finish_reason": turn.finish_reason,
        "token_ids": turn.completion.tokens.tolist(),
        "logprobs": {"content": _logprobs(turn.completion, renderer)} if body.get("logprobs") else None,
    }
    given, drawn = len(turn.prompt), len(turn.completion.tokens)
    return {
        "id": f"chatcmpl-{turn.number}",
        "object": "chat.completion",
        "created": 0,
        "model": str(body.get("model", "")),
        "choices": [choice],
        "prompt_token_ids": turn.prompt.tolist(),
        "usage": {"prompt_tokens": given, "completion_tokens": drawn, "total_tokens": given + drawn},
    }


def events(answer: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The answer as server-sent events. All of it was drawn before: whoever streams gets it in one piece."""
    (choice,) = answer["choices"]
    delta = dict(choice["message"])
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(delta["tool_calls"])]
    frame = {key: answer[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    rest = {key: choice[key] for key in ("index", "logprobs", "token_ids")}
    said = {**frame, "choices": [{**rest, "delta": delta, "finish_reason": None}]}
    over = {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    parts = [{**said, "prompt_token_ids": answer["prompt_token_ids"]}, over]
    if (body.get("stream_options") or {}).get("include_usage"):
        parts.append({**frame, "choices": [], "usage": answer["usage"]})
    return "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"


def _logprobs(completion: Completion, renderer: ChatRenderer) -> list[dict[str, Any]]:
    columns = zip(completion.tokens, completion.logprobs, completion.sampling_logprobs, strict=True)
    return [
        {
            "token": renderer.piece(int(token)),
            "token_id": int(token),
            "logprob": float(logprob),
            "sampling_logprob": float(sampling),
            "bytes": None,
            "top_logprobs": [],
        }
        for token, logprob, sampling in columns
    ]


def _message(message: Any) -> dict[str, Any]:
    """Without what is null, its text in one piece; a developer speaks as the system."""
    out = {key: value for key, value in dict(message).items() if value is not None}
    content = out.get("content")
    if isinstance(content, list):
        out["content"] = "".join(str(part.get("text") or "") for part in content)
    if out.get("role") == "developer":
        out["role"] = "system"
    if "content" not in out:
        out["content"] = None if out.get("tool_calls") else ""
    return out


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[str, str, bytes] | None:
    """(method, path, body) of the next request; None when there is none."""
    method = path = ""
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            method, path = event.method.decode(), event.target.decode()
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST_BODY_BYTES:
                raise ValueError("a body without end")
        elif isinstance(event, h11.EndOfMessage):
            return method, path, bytes(body)
        else:
            return None


def _response(connection: h11.Connection, status: int, body: Mapping[str, Any] | str) -> bytes:
    """JSON, or a text of events."""
    kind = "text/event-stream" if isinstance(body, str) else "application/json"
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(data)))]
    parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=data), h11.EndOfMessage())
    return b"".join(connection.send(part) or b"" for part in parts)


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "code": None}}
