"""What a chat completion answers, whole or in events, as Anthropic's clients read it."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any

from fastapi import Response

from tunesmith.server.dialects.openai.generation import STILL_AT_WORK
from tunesmith.server.dialects.refusals import Refusal

KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
Decode = Callable[[Sequence[int]], str]
REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def render(refusal: Refusal) -> Response:
    kind = KINDS.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    body = {"type": "error", "error": {"type": kind, "message": refusal.shown}}
    return Response(json.dumps(body), refusal.status, dict(refusal.headers), "application/json")


class Answer:
    """One message, whole, or a block after the other."""

    def __init__(self, model: str, given_tokens: int, stops: Sequence[str], decode: Decode) -> None:
        self._stops, self._decode, self._tokens = stops, decode, list[int]()
        self._frame = {"id": f"msg_{token_hex(12)}", "type": "message", "role": "assistant", "model": model}
        self._given = given_tokens
        self._block = -1
        self._open = False

    def whole(self, choice: Mapping[str, Any], usage: Mapping[str, int]) -> dict[str, Any]:
        message = choice["message"]
        self._tokens += choice["token_ids"]
        blocks = [{"type": "text", "text": message["content"]}] if message["content"] else []
        for call in message.get("tool_calls", ()):
            blocks.append({**_call(call), "input": json.loads(call["function"]["arguments"])})
        ended = self._ended(choice["finish_reason"])
        return {**self._frame, "content": blocks, **ended, "usage": self._usage(usage["completion_tokens"])}

    def begin(self) -> str:
        ended = {"stop_reason": None, "stop_sequence": None}
        return _event("message_start", {"message": {**self._frame, "content": [], **ended, "usage": self._usage(0)}})

    def piece(self, choice: Mapping[str, Any]) -> Iterator[str]:
        """Events of what has become certain: text goes into one block, every call into one of its own."""
        delta = choice["delta"]
        self._tokens += choice["token_ids"]
        if text := delta.get("content"):
            if not self._open:
                yield self._start({"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls", ()):
            yield from self.close()
            yield self._start({**_call(call), "input": {}})
            yield self._delta({"type": "input_json_delta", "partial_json": call["function"]["arguments"]})
            yield from self.close()

    def close(self) -> Iterator[str]:
        if self._open:
            self._open = False
            yield _event("content_block_stop", {"index": self._block})

    def end(self, reason: str, drawn_tokens: int) -> Iterator[str]:
        yield from self.close()
        yield _event("message_delta", {"delta": self._ended(reason), "usage": self._usage(drawn_tokens)})
        yield _event("message_stop", {})

    def _ended(self, reason: str) -> dict[str, Any]:
        """Why, and at which of the client's texts: the one that comes first in what was drawn."""
        text = self._decode(self._tokens) if reason == "stop" else ""
        found = min((s for s in self._stops if s in text), key=text.index, default=None)
        return {"stop_reason": REASONS[reason] if found is None else "stop_sequence", "stop_sequence": found}

    def _start(self, block: Mapping[str, Any]) -> str:
        self._block, self._open = self._block + 1, True
        return _event("content_block_start", {"index": self._block, "content_block": block})

    def _delta(self, delta: Mapping[str, Any]) -> str:
        return _event("content_block_delta", {"index": self._block, "delta": delta})

    def _usage(self, drawn_tokens: int) -> dict[str, int]:
        return {"input_tokens": self._given, "output_tokens": drawn_tokens}


async def events(answer: Answer, chunks: AsyncIterable[Any]) -> AsyncIterator[str]:
    """The events of a chat completion in the other words."""
    yield answer.begin()
    reason = "stop"
    async for chunk in chunks:
        if chunk == STILL_AT_WORK:
            yield _event("ping", {})
        for line in str(chunk).splitlines():
            said = line.removeprefix("data: ")
            if not line.startswith("data: ") or said == "[DONE]":
                continue
            body = json.loads(said)
            if "error" in body:
                kind = "api_error" if body["error"]["type"] == "server_error" else body["error"]["type"]
                yield _event("error", {"error": {"type": kind, "message": body["error"]["message"]}})
            for choice in body.get("choices", ()):
                reason = choice["finish_reason"] or reason
                yield "".join(answer.piece(choice))
            if body.get("usage"):
                yield "".join(answer.end(reason, body["usage"]["completion_tokens"]))


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}


def _event(name: str, body: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n"
