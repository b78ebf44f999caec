"""Calls of functions in what a model writes, for the notations that chat templates teach."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.grammar import ANY_OBJECT, LAYOUT, lark_grammar

PROBE = {"name": "probe_tool", "arguments": '{"value": 1}'}
_OPEN, _CLOSE, _PYTHON = "<tool_call>", "</tool_call>", "<|python_tag|>"


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    name: str
    arguments: str
    """JSON."""

    def body(self, number: str = "") -> dict[str, Any]:
        """As a message has it; with a number that nobody else has where none is given."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{number or token_hex(12)}", "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Notation:
    """How a model writes calls."""

    begins: Callable[[str], int | None]
    """The character of a reply from which it may be calls."""
    read: Callable[[str], list[Call]]
    """The calls of that part; empty where it is none."""
    written: tuple[str, str, str]
    """What stands before the name of a call, between its name and its arguments, and after them; all JSON between."""
    between: str
    """What stands between two calls."""


def notation_of(renderer: ChatRenderer, tools: Sequence[Mapping[str, Any]]) -> Notation:
    """The notation in which the model's template writes a call.

    Raises:
        UserError: the template does not tell the model about tools, or writes calls in a way that is not known here.
    """
    asked: list[Mapping[str, Any]] = [{"role": "user", "content": "a"}]
    if np.array_equal(renderer.prompt(asked), renderer.prompt(asked, tools)):
        problem = "the chat template of this model does not tell it about tools"
        raise UserError("tools", problem, "Leave them out, or use a model whose template takes tools")
    call = {"role": "assistant", "content": None, "tool_calls": [Call(**PROBE).body()]}
    text = "".join(piece for piece, _ in renderer.preview([*asked, call], tools))
    reply = text.rpartition(PROBE["name"])
    if _OPEN in reply[0][-80:] and '"arguments"' in reply[2][:40]:
        return TAGGED
    if '"parameters"' in reply[2][:40]:
        return BARE
    problem = "the chat template of this model writes calls in a notation that is not known here"
    raise UserError("tools", problem, f"Use a model that writes {_OPEN} with JSON, or JSON with parameters")


def calls_grammar(notation: Notation, tools: Sequence[Mapping[str, Any]], several: bool) -> str:
    """The grammar of a reply that calls one of these functions with arguments of its schema, and says nothing else.

    Args:
        several: whether it may go on with further calls.

    Raises:
        UserError: a schema that cannot be enforced; says which part.
    """
    before, middle, after = notation.written
    calls = []
    for tool in tools:
        function = tool["function"]
        schema = {**(function.get("parameters") or ANY_OBJECT), "x-guidance": LAYOUT}
        name = json.dumps(str(function["name"]), ensure_ascii=False)
        calls.append(f"{_literal(before + name + middle)} %json {json.dumps(schema)} {_literal(after)}")
    more = f" ({_literal(notation.between)} call)*" if several else ""
    rules = "\n".join(f"call{i}: {call}" for i, call in enumerate(calls))
    names = " | ".join(f"call{i}" for i in range(len(calls)))
    return lark_grammar(f"start: call{more}\ncall: {names}\n{rules}\n", "tools")


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _tag_at(text: str) -> int | None:
    """Where the first tag begins, or may."""
    at = text.find(_OPEN)
    if at >= 0:
        return at
    start = text.rfind("<")
    return start if start >= 0 and _OPEN.startswith(text[start:]) else None


def _tagged(text: str) -> list[Call]:
    """``<tool_call>{"name": ..., "arguments": ...}</tool_call>``, one after the other."""
    bodies = [piece.partition(_CLOSE)[0] for piece in text.split(_OPEN)[1:]]
    calls = [_call(body, "arguments") for body in bodies]
    return [call for call in calls if call is not None] if all(calls) else []


def _brace_at(text: str) -> int | None:
    """A reply that is a call is nothing else."""
    start = text.lstrip()
    return 0 if not start or start.startswith("{") or _PYTHON.startswith(start[: len(_PYTHON)]) else None


def _bare(text: str) -> list[Call]:
    """``{"name": ..., "parameters": ...}``, several with a semicolon between."""
    bodies = text.strip().removeprefix(_PYTHON).split("; {")
    calls = [_call(body if i == 0 else "{" + body, "parameters") for i, body in enumerate(bodies)]
    return [call for call in calls if call is not None] if all(calls) else []


def _call(body: str, arguments: str) -> Call | None:
    try:
        read = json.loads(body)
    except ValueError:
        return None
    if not isinstance(read, dict) or not isinstance(read.get("name"), str) or arguments not in read:
        return None
    given = read[arguments]
    return Call(read["name"], given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))


TAGGED = Notation(_tag_at, _tagged, (_OPEN + '\n{"name": ', ', "arguments": ', "}\n" + _CLOSE), "\n")
BARE = Notation(_brace_at, _bare, ('{"name": ', ', "parameters": ', "}"), "; ")
