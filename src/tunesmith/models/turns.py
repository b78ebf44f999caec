"""Conversations as text, by the model's own chat template or without one, and where in it the trained turns are.

Rule of the house: what is trained is what would be sampled. A trained turn begins where the prompt for it ends and
stops with the token that ends a turn.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from jinja2 import TemplateError

from tunesmith.core.errors import UserError

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
TEMPLATE_FAILURES = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What running a template on messages it was not written for can raise."""
EMPTY_THOUGHT = re.compile(r"(?:<think>)?\s*</think>\n*")
"""What reasoning templates put before an answer that has no reasoning; the prompt may hold its first half."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a rendered conversation that carry loss."""

    start: int
    end: int
    weight: float


class Turns:
    """The text of one model's conversations."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], notes: Sequence[str] = ()) -> None:
        self.tokenizer, self.backend = tokenizer, tokenizer.backend_tokenizer
        self.notes: list[str] = list(notes)
        """What the user should know about how this model's conversations are rendered."""
        self.has_template = bool(tokenizer.chat_template)
        self.stop_ids: tuple[int, ...] = tuple(stop_ids)
        """Ids that end a completion."""
        if self.has_template:
            self._learn_turn_end()
        else:
            self.note("no chat template: messages are joined as plain text")
        if not self.stop_ids:
            self.note("no stop token is known: completions end at max_tokens only")

    def prompt(self, messages: Messages, tools: Tools) -> str:
        """What asks the model for the next assistant turn."""
        self._check(messages, tools)
        return self._render(messages, tools, ask=True) if self.has_template else self._join(messages)[0]

    def ended(self, messages: Messages, tools: Tools) -> str:
        """A conversation that nobody goes on with."""
        return self._render(messages, tools, ask=False) if self.has_template else self._join(messages)[0]

    def trained(self, messages: Messages, tools: Tools) -> tuple[str, list[Span]]:
        """A whole conversation, and what of it carries loss.

        Raises:
            UserError: the template refuses the messages, or rewrites a trained turn once others follow it.
        """
        self._check(messages, tools)
        return self._layout(messages, tools) if self.has_template else self._join(messages)

    def note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _join(self, messages: Messages) -> tuple[str, list[Span]]:
        """Without a template: contents end to end, each assistant message closed by the end token."""
        text, spans = "", []
        for index, message in enumerate(messages):
            if message.get("tool_calls"):
                problem = "calls tools, which a model without a chat template cannot show"
                raise UserError(f"messages[{index}]", problem, "Write the call into the content, or add a template")
            start = len(text)
            text += _content(message)
            if message["role"] == "assistant":
                text += self._end_text
                spans.append(Span(start, len(text), _weight(message)))
        return text, spans

    def _layout(self, messages: Messages, tools: Tools) -> tuple[str, list[Span]]:
        """The rendered conversation and where in it the trained turns are."""
        text = self._render(messages, tools, ask=False)
        spans = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or not _weight(message):
                continue
            if index == 0:
                mend = "Put a user or system message before it, or give it weight 0"
                raise UserError("messages[0]", "the conversation begins with the assistant", mend)
            asked = self._render(messages[:index], tools, ask=True)
            last = index == len(messages) - 1
            if last and not text.startswith(asked):
                text = self._continued(messages, tools, asked, text)
                own = text
            else:
                own = text if last else self._render(messages[: index + 1], tools, ask=False)
            start, end = self._turn(text, asked, own, message, index)
            if last and not self._stops(text[start:end]):
                self.note("the chat template does not end a turn: the end token is added to the last one")
                text, end = text[:end] + self._end_text, end + len(self._end_text)
            if str(message.get("reasoning_content") or "").strip() not in text[start:end]:
                self.note("the chat template leaves reasoning_content out: it is not trained")
            spans.append(Span(start, end, _weight(message)))
        return text, spans

    def _turn(self, text: str, asked: str, own: str, message: Mapping[str, Any], index: int) -> tuple[int, int]:
        """First and last character of a turn in ``text``; ``own`` is the conversation that ends with this turn."""
        turn = _without_empty_thought(own[len(asked) :], message)
        turn = turn[: self._turn_length(turn, message)]
        rest = _without_empty_thought(text[len(asked) :], message)
        if not (text.startswith(asked) and own.startswith(asked) and rest.startswith(turn)):
            raise _rewritten(index)
        start = len(text) - len(rest)
        return start, start + len(turn)

    def _turn_length(self, turn: str, message: Mapping[str, Any]) -> int:
        """Characters up to and with the token that ends the turn: the first one after the message's content."""
        content = _content(message).strip()
        after = turn.find(content) + len(content) if content in turn else 0
        ends = [at + len(stop) for stop in self.stop_texts if (at := turn.find(stop, after)) >= 0]
        return min(ends, default=len(turn))

    def _continued(self, messages: Messages, tools: Tools, asked: str, text: str) -> str:
        """The last turn behind its own prompt, for templates that leave that prompt out of finished conversations."""
        before = self._render(messages[:-1], tools, ask=False)
        content = _content(messages[-1])
        opening, rest = asked[len(before) :], text[len(before) :]
        at = rest.rfind(content) if content else max(i for i in range(len(rest) + 1) if opening.startswith(rest[:i]))
        fits = asked.startswith(before) and text.startswith(before) and at >= 0 and opening.startswith(rest[:at])
        if not fits:
            problem = "the chat template writes this turn otherwise than when it is sampled"
            mend = "Use a template whose conversations begin with its own prompts"
            raise UserError(f"messages[{len(messages) - 1}]", problem, mend)
        self.note("the chat template leaves its generation prompt out: the last turn is rendered as it is sampled")
        return asked + rest[at:]

    def _render(self, messages: Messages, tools: Tools, ask: bool) -> str:
        """The template's text; ``ask`` adds the generation prompt."""
        try:
            text = self.tokenizer.apply_chat_template(
                [self._prepared(m) for m in messages],
                tools=list(map(dict, tools)) or None,
                add_generation_prompt=ask,
                tokenize=False,
            )
        except TEMPLATE_FAILURES as e:
            mend = "Change the messages to what the model's template takes, or give the model another template"
            raise UserError("messages", f"the chat template refuses them: {e}".rstrip("."), mend) from None
        return str(text)

    def _prepared(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message as the template takes it: no loss weight, tool calls and an absent content in its own style."""
        out = {k: v for k, v in message.items() if k != "weight"}
        if out.get("tool_calls"):
            absent, keeps_text = self._call_style
            out["content"] = absent if out.get("content") is None else out["content"]
            out["tool_calls"] = (
                out["tool_calls"] if keeps_text else list(map(_with_parsed_arguments, out["tool_calls"]))
            )
        return out

    @cached_property
    def _call_style(self) -> tuple[str | None, bool]:
        """(content of a call without text, arguments stay text): what the template writes out as OpenAI means it.

        Some templates fail on a content of null or write None; some quote arguments that are text once more.
        """
        arguments = '{"x":1}'
        for absent, given in product((None, ""), (arguments, json.loads(arguments))):
            call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": given}}
            asked = {"role": "user", "content": "a"}, {"role": "assistant", "content": absent, "tool_calls": [call]}
            try:
                text = self.tokenizer.apply_chat_template(list(asked), tokenize=False)
            except TEMPLATE_FAILURES:
                continue
            if "None" not in text and (given is not arguments or arguments in text):
                return absent, given is arguments
        return "", False

    def _learn_turn_end(self) -> None:
        """Stop at the token with which the template ends a turn, even where the model's files forget it."""
        try:
            text = self._render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}], (), False)
        except UserError:
            return  # a template with needs of its own; the files' stop tokens have to do
        ids = self.backend.encode(text.rpartition("bc")[2], add_special_tokens=False).ids[:1]
        added = self.tokenizer.added_tokens_decoder
        if ids and ids[0] in added and added[ids[0]].special and ids[0] not in self.stop_ids:
            self.note(f"the chat template ends a turn with {added[ids[0]].content}: added to the stop tokens")
            self.stop_ids = (*self.stop_ids, ids[0])

    @cached_property
    def stop_texts(self) -> list[str]:
        """What ends a turn, as the template writes it."""
        return [token for i in self.stop_ids if (token := self.backend.id_to_token(i))]

    @cached_property
    def _end_text(self) -> str:
        """What closes an assistant message that no template closes."""
        own = self.tokenizer.eos_token
        return own if own in self.stop_texts else next(iter(self.stop_texts), "")

    def _stops(self, turn: str) -> bool:
        return turn.endswith(tuple(self.stop_texts)) or not self.stop_texts

    def _check(self, messages: Messages, tools: Tools) -> None:
        if not messages:
            raise UserError("messages", "there are none", "Give at least one message")
        for index, message in enumerate(messages):
            if not isinstance(message.get("role"), str):
                raise UserError(f"messages[{index}]", "has no role", "Say who speaks: system, user, assistant or tool")
        if tools and not self._shows(messages, tools):
            self.note("the model's template ignores tools: it is not told about them")

    def _shows(self, messages: Messages, tools: Tools) -> bool:
        return self.has_template and self._render(messages, tools, False) != self._render(messages, (), False)


def _rewritten(index: int) -> UserError:
    problem = "the chat template writes this turn otherwise in a longer conversation than when it is sampled"
    mend = "Train it as a row of its own that ends with it (weight 0 here), or use a training template"
    return UserError(f"messages[{index}]", problem, mend)


def _weight(message: Mapping[str, Any]) -> float:
    weight = message.get("weight")
    return 1.0 if weight is None else float(weight)


def _content(message: Mapping[str, Any]) -> str:
    """The message's text; a list of parts counts with its text parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _without_empty_thought(turn: str, message: Mapping[str, Any]) -> str:
    """A turn without the empty reasoning block that the template, and not the message, put first."""
    reasons = "</think>" in _content(message) or any(message.get(k) for k in ("reasoning_content", "reasoning"))
    empty = None if reasons else EMPTY_THOUGHT.match(turn)
    return turn[empty.end() :] if empty else turn


def _with_parsed_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI sends arguments as text; most templates want the object. Text that is no object stays what it is."""
    function = call.get("function") or {}
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else dict(call)
