"""Strict JSON: what ``json.loads`` lets through but training must not see is refused, with the mend."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
MAX_DIGITS = 4300
"""Python itself converts no longer integers."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_CLOSES = {"[": "]", "{": "}"}


class BadJson(Exception):
    """JSON text that is refused."""

    def __init__(self, field: str, found: str, problem: str, mend: str) -> None:
        super().__init__(f"{field}: found {found}, {problem}. {mend}")
        self.field, self.found, self.problem, self.mend = field, found, problem, mend


def decode(text: str) -> Any:
    """The value of a JSON text without duplicate keys, NaN, infinities, lone surrogates or absurd nesting.

    Raises:
        BadJson: names the column or the field, and how to mend it.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        mend = f"Flatten the object to at most {MAX_DEPTH} levels"
        raise BadJson("row", f"more than {MAX_DEPTH} levels", "nested too deep", mend)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as e:
        raise _explain(e) from None
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadJson(_short(twice), "it twice", "duplicate key in one object", "Keep one of the two")
    return made


def _constant(text: str) -> Any:
    raise BadJson("row", text, "not a JSON number", "Write a finite number, null, or a string")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadJson("row", _short(text), "number too large to represent", "Write it as a string")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise BadJson("row", f"an integer of {len(text)} digits", "number too long", "Write it as a string")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite, parse_int=_whole, strict=True
)


def _explain(e: json.JSONDecodeError) -> BadJson:
    """Most broken lines are broken in one of a few ways; say which."""
    rest = e.doc[e.pos :].lstrip()
    found = repr(_short(rest, 24)) if rest else "the end of the line"
    return BadJson(f"column {e.pos + 1}", found, "invalid JSON", f"{e.msg}: {_mend(e, rest)}")


def _mend(e: json.JSONDecodeError, rest: str) -> str:
    first = rest[:1]
    if not rest or e.msg.startswith("Unterminated string"):
        missing = _unclosed(e.doc)
        end = f"add {missing} at its end" if rest == "" and missing else "write line breaks in text as \\n"
        return f"the line ends before the object does; {end}, or write the file again if it was cut off"
    if e.msg == "Extra data":
        return "end lines in \\n, not \\r alone" if "\r" in e.doc else "put each object on a line of its own"
    if e.msg.startswith("Invalid control character"):
        return "write line breaks and tabs in text as \\n and \\t"
    if "escape" in e.msg:
        return "write a backslash in text as \\\\"
    if first in "}]" or "trailing comma" in e.msg:
        return "remove the comma before the closing bracket"
    if first == "'":
        return "use double quotes, not single ones (json.dumps writes them)"
    if rest.startswith(("None", "True", "False")):
        return "write null, true and false as JSON does"
    if first in "/#":
        return "JSON has no comments; remove it"
    if e.pos == 0:
        return 'write one JSON object per line, as {"messages": [...]}'
    return "mend the syntax at this column"


def _structure(text: str) -> Iterator[str]:
    """The brackets outside strings, in order."""
    return (match.group() for match in _BRACKETS.finditer(_STRING.sub("", text)))


def _depth(text: str) -> int:
    """Deepest nesting; found without recursion, before the decoder recurses."""
    depth = deepest = 0
    for bracket in _structure(text):
        depth += 1 if bracket in _CLOSES else -1
        deepest = max(deepest, depth)
    return deepest


def _unclosed(text: str) -> str:
    """The closing brackets that a cut text lacks."""
    stack: list[str] = []
    for bracket in _structure(text):
        if bracket in _CLOSES:
            stack.append(_CLOSES[bracket])
        elif stack:
            stack.pop()
    return "".join(reversed(stack))


def _refuse_lone_surrogates(value: Any) -> None:
    """Half of a surrogate pair is not a character: it cannot be written as UTF-8 or tokenised."""
    pending: list[tuple[str, Any]] = [("row", value)]
    while pending:
        field, item = pending.pop()
        if isinstance(item, dict):
            pending += [(f"key of {field}", key) for key in item]
            pending += [(key if field == "row" else f"{field}.{key}", child) for key, child in item.items()]
        elif isinstance(item, list):
            pending += [(f"{field}[{i}]", child) for i, child in enumerate(item)]
        elif isinstance(item, str) and not _encodable(item):
            where = field if _encodable(field) else "row"
            mend = "Write the character as a pair of \\u escapes or as UTF-8; or remove the half"
            raise BadJson(where, ascii(_short(item)), "half of a surrogate pair, which is no character", mend)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most] + "…"
