"""Filters of lists: comparisons with ``=``, ``!=`` and ``:``, joined by AND. The rest of AIP-160 is refused by name."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.errors import UserError

LONGEST = 2000
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<sign>!=|>=|<=|[=:<>()])|(?P<word>[^\s"'=!:<>()]+))"""
)
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*")
MEND = 'Compare fields with =, != or : and join them with AND, such as: state="READY" AND displayName:"sums"'
Keeps = Callable[[Mapping[str, Any]], bool]


def parse_filter(text: str) -> Keeps:
    """A test of resources as they are shown. ``:`` asks whether a text or list has something, ``:*`` if it is set.

    Raises:
        UserError: something that is not supported here; names it.
    """
    tokens = _tokens(text)
    tests: list[Keeps] = []
    while tokens:
        if tests:
            kind, word = tokens.pop(0)
            if (kind, word) != ("word", "AND"):
                raise _unsupported(word)
        tests.append(_comparison(tokens))
    return lambda row: all(test(row) for test in tests)


def path_of(where: str, name: str) -> tuple[str, ...]:
    """A field by its name, ``createTime`` or ``create_time``, with dots for what is inside.

    Raises:
        UserError: no name.
    """
    if not _PATH.fullmatch(name):
        raise UserError(where, f"{name[:80]!r} is no field", "Name fields as they are shown, such as createTime")
    return tuple(map(camel, name.split(".")))


def camel(name: str) -> str:
    """``create_time`` as ``createTime``; what is in camel case already stays."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def value_at(body: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value of a field; None where there is none."""
    found: Any = body
    for part in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    if len(text) > LONGEST:
        raise UserError("filter", f"has {len(text)} characters", f"Send at most {LONGEST}")
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            raise UserError("filter", f"cannot be read from {text[at : at + 40]!r} on", MEND)
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
    return found


def _comparison(tokens: list[tuple[str, str]]) -> Keeps:
    kind, word = tokens.pop(0) if tokens else ("word", "")
    if kind != "word" or word in ("NOT", "OR", "AND") or word.startswith("-"):
        raise _unsupported(word)
    path = path_of("filter", word)
    kind, sign = tokens.pop(0) if tokens else ("word", "")
    if kind != "sign" or sign not in ("=", "!=", ":"):
        raise _unsupported(sign or word)
    kind, value = tokens.pop(0) if tokens else ("sign", "the end")
    if kind == "sign":
        raise UserError("filter", f"{word} is compared with nothing before {value!r}", MEND)
    if kind == "text":
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    elif value.endswith("*") and not (sign == ":" and value == "*"):
        raise _unsupported(value)
    present = kind == "word" and value == "*"
    return lambda row: _holds(value_at(row, path), sign, value, present)


def _holds(found: Any, sign: str, value: str, present: bool) -> bool:
    if present:
        return found is not None and found != ""
    if sign == ":":
        if isinstance(found, list):
            return value in map(_text, found)
        return value in found if isinstance(found, dict) else value.lower() in _text(found).lower()
    return (_text(found) == value) == (sign == "=")


def _text(value: Any) -> str:
    """As it would be written in a filter; nothing is the empty text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _unsupported(what: str) -> UserError:
    return UserError("filter", f"{what[:80]!r} is not supported there" if what else "ends too early", MEND)
