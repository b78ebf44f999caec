"""Choices of an answer, whole or in pieces: text, log-probabilities, calls, and why it ended."""

from collections.abc import Mapping
from typing import Any, Protocol

from tunesmith.core.types import Ints, NewToken
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.tool_calls import Call, Notation
from tunesmith.server.dialects.openai.growing import UNFINISHED, Growing, Part
from tunesmith.server.dialects.openai.requests import ChatRequest, CompletionRequest


class Choice(Protocol):
    """One of the n answers to a prompt."""

    def add(self, token: NewToken) -> None:
        """Take the next token."""

    def piece(self) -> dict[str, Any] | None:
        """What has become certain since the last piece; None for nothing."""

    def whole(self) -> dict[str, Any]:
        """All of it, when no piece was taken and the last token is there."""


class Pieces:
    """Names of tokens, each looked up once per request."""

    def __init__(self, renderer: ChatRenderer) -> None:
        self._renderer = renderer
        self._known: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._renderer.piece(token)
        return self._known[token]


class ChatChoice:
    """A message of the assistant."""

    def __init__(self, index: int, given: ChatRequest, renderer: ChatRenderer, pieces: Pieces, tools: Notation | None):
        self._index, self._given, self._pieces, self._tools = index, given, pieces, tools
        self._growing = Growing(renderer.decode, given.stop, None if tools is None else tools.begins)
        self._part, self._calls = Part(), list[Call]()
        self._stop: str | None = None
        self._begun = False

    def add(self, token: NewToken) -> None:
        self._part += self._growing.add(token)
        if token.stop is None:
            return
        self._stop = "stop" if token.stop == "stop" else "length"
        if self._tools is not None:
            rest = self._growing.rest()
            self._calls = self._tools.read(rest.text)
            if self._calls:
                self._stop = "tool_calls"
            else:
                self._part += rest

    def piece(self) -> dict[str, Any] | None:
        part, self._part = self._part, Part()
        if self._begun and not part and self._stop is None and not (self._given.return_token_ids and part.tokens):
            self._part = part
            return None
        delta: dict[str, Any] = {} if self._begun else {"role": "assistant"}
        if part.text or not self._begun:
            delta["content"] = part.text
        if self._calls:
            delta["tool_calls"] = [{"index": i, **call.body()} for i, call in enumerate(self._calls)]
        self._begun = True
        return self._body(part) | {"delta": delta}

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._part.text, "refusal": None}
        if self._calls:
            message["content"] = self._part.text or None
            message["tool_calls"] = [call.body() for call in self._calls]
        return self._body(self._part) | {"message": message}

    def _body(self, part: Part) -> dict[str, Any]:
        content = None
        if self._given.logprobs:
            content = {"content": [self._entry(token) for token in part.shown], "refusal": None}
        body = {"index": self._index, "logprobs": content, "finish_reason": self._stop}
        return body | ({"token_ids": part.tokens} if self._given.return_token_ids else {})

    def _entry(self, token: NewToken) -> dict[str, Any]:
        likeliest = [self._scored(i, x) for i, x in _likeliest(token)]
        return self._scored(token.token, token.logprob) | {"top_logprobs": likeliest}

    def _scored(self, token: int, logprob: float) -> dict[str, Any]:
        name = self._pieces[token]
        # A part of a character has no name that would give its bytes.
        octets = None if UNFINISHED in name else list(name.encode("utf-8", errors="replace"))
        return {"token": name, "bytes": octets, "logprob": logprob}


class TextChoice:
    """A continuation of a text."""

    def __init__(
        self,
        index: int,
        given: CompletionRequest,
        prompt: Ints,
        renderer: ChatRenderer,
        pieces: Pieces,
        echoed: Part | None,
    ) -> None:
        """
        Args:
            echoed: the prompt as if it were the beginning of the completion.
        """
        self._index, self._given, self._pieces = index, given, pieces
        self._extra = {"prompt_token_ids": prompt.tolist()} if given.return_token_ids else {}
        self._growing = Growing(renderer.decode, given.stop)
        self._part = Part() if echoed is None else Part(echoed.text, [*echoed.shown], [*echoed.offsets])
        self._before = len(self._part.text)
        self._stop: str | None = "length" if given.max_tokens == 0 else None

    def add(self, token: NewToken) -> None:
        part = self._growing.add(token)
        part.offsets = [self._before + at for at in part.offsets]
        self._part += part
        if token.stop is not None:
            self._stop = "stop" if token.stop == "stop" else "length"

    def piece(self) -> dict[str, Any] | None:
        part = self._part
        if not part and self._stop is None and not (self._given.return_token_ids and part.tokens):
            return None
        body, self._part, self._extra = self._body(part), Part(), {}
        return body

    def whole(self) -> dict[str, Any]:
        return self._body(self._part)

    def _body(self, part: Part) -> dict[str, Any]:
        body = {"index": self._index, "text": part.text, "finish_reason": self._stop, "logprobs": None}
        if self._given.logprobs is not None:
            body["logprobs"] = self._logprobs(part)
        return body | self._extra | ({"token_ids": part.tokens} if self._given.return_token_ids else {})

    def _logprobs(self, part: Part) -> Mapping[str, Any]:
        """Nothing predicts the first token of a text: it has none."""
        numbers = [None if token.logprob != token.logprob else token.logprob for token in part.shown]
        likeliest = [{self._pieces[i]: x for i, x in _likeliest(token)} for token in part.shown]
        return {
            "tokens": [self._pieces[token.token] for token in part.shown],
            "token_logprobs": numbers,
            "top_logprobs": likeliest if self._given.logprobs else None,
            "text_offset": part.offsets,
        }


def _likeliest(token: NewToken) -> list[tuple[int, float]]:
    """(id, nats) of the likeliest tokens at a position, as far as they were asked for."""
    if token.top_ids is None or token.top_logprobs is None or token.logprob != token.logprob:
        return []
    return [(int(i), float(x)) for i, x in zip(token.top_ids, token.top_logprobs, strict=True)]
