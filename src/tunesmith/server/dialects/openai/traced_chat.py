"""Chat completions below the ids of a rollout: answered like all others, and kept as a trace of that rollout.

The address is the one that eval-protocol hands to a remote server, so the server's code needs only a base URL.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.core.types import NewToken
from tunesmith.server.body import read_body, read_json
from tunesmith.server.dialects.openai.chat import answered, work_of
from tunesmith.server.dialects.openai.choices import Choice
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.openai.generation import Work
from tunesmith.server.dialects.openai.requests import ChatRequest
from tunesmith.server.dialects.rollout_desk import AnyCaller, desk_of, relayed
from tunesmith.server.routing import Router
from tunesmith.services.gateway.book import Book, Trace, tags_of

IDS = ("rollout_id", "invocation_id", "experiment_id", "run_id", "row_id")
PROJECT, ELSEWHERE = "project_id", "encoded_base_url"
_PATH = "".join(f"/{name}/{{{name}}}" for name in IDS)
_PROJECT_PATH = f"/{PROJECT}/{{{PROJECT}}}"


def _router() -> Router:
    """Every way that the address may be written."""
    router = new_router()
    for root in ("", "/v1"):
        ways = [_PROJECT_PATH]
        ways += [
            f"{project}{_PATH}{last}"
            for project in ("", _PROJECT_PATH)
            for last in ("", f"/{ELSEWHERE}/{{{ELSEWHERE}}}")
        ]
        for way in ways:
            router.add_api_route(f"{root}{way}/chat/completions", traced, methods=["POST"], response_model=None)
    return router


async def traced(request: Request, caller: AnyCaller) -> Response:
    """The next message of a rollout's conversation, kept with its tokens and their log-probabilities."""
    ids = request.path_params
    rollout = ids.get(IDS[0], "")
    desk = await desk_of(request, caller, rollout)
    _check_here(request, ids.get(ELSEWHERE, ""))
    if desk.socket:
        return await relayed(request, desk, rollout, await read_body(request))
    given = await read_json(request, ChatRequest)
    work = await work_of(request, desk.owner, given)
    tags = tags_of({name: ids.get(name, "") for name in (*IDS, PROJECT)}) + _own_tags(given)
    return await answered(request, given, _kept(work, given, desk.book, tags))


def _check_here(request: Request, encoded: str) -> None:
    """
    Raises:
        UserError: the completion is to come from another server. Its answers are none of ours, and nobody's key is
            handed on.
    """
    if not encoded:
        return
    where = "completion_params.base_url"
    try:
        named = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        there = urlsplit(named)
        origin = (there.scheme, there.netloc)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise UserError(where, "cannot be read", "Encode an address with URL-safe base64, or leave it out") from None
    if origin != (request.url.scheme, request.url.netloc):
        problem = f"is another server ({there.hostname or named!r:.80}), to which nothing is forwarded"
        raise UserError(where, problem, "Leave it out: the models of this server answer here")


def _own_tags(given: ChatRequest) -> tuple[str, ...]:
    """Tags that the caller adds in ``metadata``, as litellm has them."""
    metadata = (given.model_extra or {}).get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return tuple(tag for tag in tags if isinstance(tag, str))[:16] if isinstance(tags, list) else ()


def _kept(work: Work, given: ChatRequest, book: Book, tags: tuple[str, ...]) -> Work:
    """The same work, whose answers are also put into a book."""
    size = len(str(given.messages))

    def keep(message: dict[str, Any], reason: str, said: list[NewToken]) -> None:
        tokens = np.array([t.token for t in said], np.int32)
        logprobs = np.array([t.logprob for t in said], np.float32)
        reply = {key: value for key, value in message.items() if key != "refusal"}
        told = (tags, given.model, given.messages, given.tools, reply, reason, work.prompts[0], tokens, logprobs)
        book.traces.add(Trace(*told, size + 8 * len(work.prompts[0]) + 24 * len(said)))

    return replace(work, choices=[_Kept(choice, keep) for choice in work.choices])


@dataclass(slots=True)
class _Kept:
    """A choice that is kept when it has ended."""

    inner: Choice
    keep: Callable[[dict[str, Any], str, list[NewToken]], None]
    said: list[NewToken] = field(default_factory=list)
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def add(self, token: NewToken) -> None:
        self.inner.add(token)
        self.said.append(token)

    def piece(self) -> dict[str, Any] | None:
        piece = self.inner.piece()
        if piece is not None:
            self.text += piece["delta"].get("content") or ""
            self.calls += [{k: v for k, v in c.items() if k != "index"} for c in piece["delta"].get("tool_calls", ())]
            if piece["finish_reason"] is not None:
                message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
                self.keep(
                    message | ({"tool_calls": self.calls} if self.calls else {}), piece["finish_reason"], self.said
                )
        return piece

    def whole(self) -> dict[str, Any]:
        whole = self.inner.whole()
        self.keep(whole["message"], whole["finish_reason"], self.said)
        return whole


router = _router()
