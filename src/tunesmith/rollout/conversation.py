"""The calls of one rollout: what a user's code says and the policy answers, kept token by token as Segments.

Ids that were sampled are never encoded again: a call that goes on where an earlier one ended is put after its ids,
and only what is new between them is encoded. A call that rewrites what was said begins another Segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Sampler
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Completion, Ints, SamplingParams, Segment
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.tool_calls import Call, notation_of

Message = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a call wants its answer; what is None is the job's."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the policy."""

    prompt: Ints
    completion: Completion
    message: dict[str, Any]
    """As the caller gets it: role, content, tool_calls where there are any."""
    finish_reason: str
    """stop, length or tool_calls."""
    number: int
    """Among the rollout's turns, from 0."""


@dataclass(slots=True)
class _Thread:
    """A Segment while it grows."""

    first: int
    """Where sampling began: tokens of the first prompt."""
    temperature: float
    tokens: Ints
    sampled: list[bool]
    logprobs: list[float]
    entropies: list[float] | None
    """None where the sampler says none."""
    text: str
    """Of the tokens, special ones by their names."""
    prompt_text: str
    """Before the newest reply."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """The newest call's, with its reply."""
    stopped: bool = False
    """The newest reply ended its turn itself."""

    def segment(self) -> Segment:
        logprobs = np.array(self.logprobs, np.float32)
        entropies = None if self.entropies is None else np.array(self.entropies, np.float32)
        return Segment(self.tokens, np.array(self.sampled, bool), logprobs, self.temperature, entropies)


class Conversation:
    """One rollout. Calls may come side by side; each sees what had ended before it."""

    def __init__(self, sampler: Sampler, renderer: ChatRenderer, params: SamplingParams, longest: int) -> None:
        """
        Args:
            params: the job's, with a seed that is this rollout's alone.
            longest: tokens of a call's prompt and answer together.
        """
        self._sampler, self._renderer, self._params, self._longest = sampler, renderer, params, longest
        self._threads: list[_Thread] = []
        self._seen: dict[bytes, int] = {}
        self.turns: list[Turn] = []
        """In the order in which they ended."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(thread.segment() for thread in self._threads)

    async def reply(self, messages: Sequence[Message], tools: Tools = (), asked: Asked | None = None) -> Turn:
        """The policy's answer to a conversation.

        Raises:
            UserError: messages that the template refuses, or that leave no room for an answer.
        """
        given = [dict(message) for message in messages]
        asked = asked or Asked()
        temperature = self._params.temperature if asked.temperature is None else asked.temperature
        thread, prompt, text = self._placed(given, tools, temperature)
        params = self._params_of(prompt, asked, temperature)
        if thread is not None:
            params = replace(params, begun=len(prompt) - thread.first)
        grown = None if thread is None else len(thread.tokens)
        completion = (await self._sampler.sample(prompt, params, 1))[0]
        message, reason = reply_message(completion, self._renderer, tools, asked.stop, str(params.seed))
        if thread is None or len(thread.tokens) != grown:  # another call went on from there meanwhile
            count = len(prompt)
            entropies = None if completion.entropies is None else [0.0] * count
            said = ([False] * count, [0.0] * count, entropies)
            thread = _Thread(count, temperature or 1.0, prompt, *said, text, text)
            self._threads.append(thread)
        self._grow(thread, prompt, text, completion)
        thread.messages = [*given, message]
        self.turns.append(Turn(prompt, completion, message, reason, len(self.turns)))
        return self.turns[-1]

    def _params_of(self, prompt: Ints, asked: Asked, temperature: float) -> SamplingParams:
        """Equal calls draw from streams of their own, in whatever order unequal ones come."""
        room = self._longest - len(prompt)
        if room < 1:
            problem = f"the conversation has {len(prompt)} tokens, the context {self._longest}"
            raise UserError("messages", problem, "Raise max_context_length, or make fewer or shorter turns")
        job = self._params
        key = prompt.tobytes()
        again = self._seen[key] = self._seen.get(key, -1) + 1
        return SamplingParams(
            max_tokens=min(room, job.max_tokens if asked.max_tokens is None else asked.max_tokens),
            temperature=temperature,
            top_p=job.top_p if asked.top_p is None else asked.top_p,
            top_k=job.top_k if asked.top_k is None else asked.top_k,
            stop=asked.stop,
            seed=seed_of(job.seed, "call", sha256(key).hexdigest(), again),
            entropies=job.entropies,
        )

    def _placed(
        self, messages: list[dict[str, Any]], tools: Tools, temperature: float
    ) -> tuple[_Thread | None, Ints, str]:
        """(the thread that goes on or None, the ids of the prompt, its text)."""
        text = self._renderer.prompt_text(messages, tools)
        for thread in reversed(self._threads):
            if thread.temperature != (temperature or 1.0):
                continue
            new = self._new_text(thread, text, messages, tools)
            if new is not None:
                return thread, np.concatenate([thread.tokens, self._renderer.inner(new)]), thread.text + new
        return None, self._renderer.prompt(messages, tools), text

    def _new_text(self, thread: _Thread, text: str, messages: list[dict[str, Any]], tools: Tools) -> str | None:
        """What comes after a thread's tokens; None where a prompt does not go on with them.

        A call that the template writes otherwise than the model did, in other spaces, is still the same call.
        """
        if text.startswith(thread.text):
            return text[len(thread.text) :]
        known = len(thread.messages)
        if not thread.messages[-1].get("tool_calls") or _plain(messages[:known]) != _plain(thread.messages):
            return None
        ended = self._renderer.ended_text(messages[:known], tools)
        if not (text.startswith(ended) and ended.startswith(thread.prompt_text)):
            return None
        ends = [(ended.rfind(stop), stop) for stop in self._renderer.stop_texts]
        at, stop = max(ends, default=(-1, ""))
        if at < len(thread.prompt_text):
            return None
        return text[at + (len(stop) if thread.stopped else 0) :]

    def _grow(self, thread: _Thread, prompt: Ints, text: str, completion: Completion) -> None:
        said = len(prompt) - len(thread.tokens)
        reply = completion.tokens
        thread.tokens = np.concatenate([prompt, reply]).astype(np.int32)
        thread.sampled += [False] * said + [True] * len(reply)
        thread.logprobs += [0.0] * said + completion.logprobs.tolist()
        if thread.entropies is not None and completion.entropies is not None:
            thread.entropies += [0.0] * said + completion.entropies.tolist()
        thread.prompt_text, thread.text = text, text + self._renderer.spell(reply)
        thread.stopped = int(reply[-1]) in self._renderer.stop_ids


def reply_message(
    completion: Completion, renderer: ChatRenderer, tools: Tools, stop: Sequence[str] = (), number: str = "0"
) -> tuple[dict[str, Any], str]:
    """(the assistant's message, why it ended): without the text it stopped at, with its calls read."""
    text = renderer.decode(completion.tokens)
    cuts = [at for word in stop if (at := text.find(word)) >= 0]
    text = text[: min(cuts)] if cuts else text
    message: dict[str, Any] = {"role": "assistant", "content": text}
    calls = _calls(text, renderer, tools)
    if calls is None:
        return message, "stop" if completion.stop == "stop" else "length"
    digest = sha256(number.encode()).hexdigest()[:22]
    message["content"] = calls.before or None
    message["tool_calls"] = [call.body(f"{digest}{i:02d}") for i, call in enumerate(calls.calls)]
    return message, "tool_calls"


@dataclass(frozen=True, slots=True)
class _Calls:
    before: str
    calls: list[Call]


def _calls(text: str, renderer: ChatRenderer, tools: Tools) -> _Calls | None:
    """The calls of tools that a reply makes, and the text before them; None where it makes none."""
    if not tools:
        return None
    notation = notation_of(renderer, tools)
    at = notation.begins(text)
    calls = notation.read(text[at:]) if at is not None else []
    return _Calls(text[:at], calls) if calls else None


def _plain(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What of messages tells one conversation from another."""
    keys = ("role", "content", "tool_calls", "tool_call_id", "name")
    return [{key: m[key] for key in keys if m.get(key)} for m in messages]
