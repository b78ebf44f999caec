"""Evaluator strings: `name`, `name:key=value&key=value`, `file.py::function`, each with an optional `=weight`.

Inside a value, `=` is written %3D and `&` %26. `composed:` and a JSON object is a grader that is data. `recorded` is
no grader: the scores stand in the rows, beside the attempts that they are of; `recorded:name` is another of them.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.grading import composed
from tunesmith.grading.answers import Folder
from tunesmith.grading.builtin import GRADERS

_FILE = re.compile(r"(?P<path>.+)::(?P<function>\w+)(?:=(?P<weight>[^=]*))?")
_RECORDED = re.compile(r"recorded(?::(?P<score>[^=]+))?(?:=(?P<weight>[^=]*))?")
_SYNTAX = "Write name, name:key=value&key=value or file.py::function, then =weight if it is part of a sum"


@dataclass(frozen=True, slots=True)
class BuiltinTarget:
    """A line of GRADERS with the arguments that the evaluator string set."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A function of a user's file, as it was when the job started: every worker gets the same source."""

    path: Path
    source: str
    function: str


@dataclass(frozen=True, slots=True)
class ComposedTarget:
    """A grader that is data, checked."""

    grader: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedTarget:
    """A score that a row has for each of the attempts that it holds."""

    score: str


Target = BuiltinTarget | FileTarget | ComposedTarget | RecordedTarget


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One part of the reward."""

    name: str
    """Key of its part: the built-in's or the function's name; a second one of the same name gets `_2`."""
    weight: float | None
    """Its factor in the sum; None when the string gave none."""
    target: Target


def parse_evaluators(evaluators: str | Sequence[str]) -> list[Evaluator]:
    """Read evaluator strings and the files that they name.

    Raises:
        UserError: a string, an argument or a weight that cannot be read, an unknown built-in.
        NotFound: a file that is not there.
    """
    strings = [evaluators] if isinstance(evaluators, str) else list(evaluators)
    if not strings:
        raise UserError("evaluator", "none given", _SYNTAX)
    parsed = [parse_evaluator(text) for text in strings]
    names = [e.name for e in parsed]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    if len({isinstance(e.target, RecordedTarget) for e in parsed}) > 1:
        raise UserError("evaluator", "sums recorded scores with a grader's", "Name either those or graders")
    return [replace(e, name=f"{e.name}_{n}") if n > 1 else e for e, n in zip(parsed, counts, strict=True)]


def parse_evaluator(text: str) -> Evaluator:
    """One evaluator string; see the module's docstring."""
    if text.startswith(composed.PREFIX):
        return _composed(text.removeprefix(composed.PREFIX))
    if found := _RECORDED.fullmatch(text):
        score = found["score"] or "score"
        return Evaluator(score, _weight(text, found["weight"]), RecordedTarget(score))
    if found := _FILE.fullmatch(text):
        target = FileTarget(*_source(found["path"]), found["function"])
        return Evaluator(found["function"], _weight(text, found["weight"]), target)
    head, colon, tail = text.partition(":")
    if not head or ".py" in head or (colon and "=" in head):
        raise UserError("evaluator", f"cannot read {text!r}", _SYNTAX)
    # The weight is the last of `name=weight` or `...&key=value=weight`.
    *pairs, last = tail.split("&") if colon else [head]
    pieces = last.split("=", 2 if colon else 1)
    weight = pieces.pop() if len(pieces) == (3 if colon else 2) else None
    name = head if colon else pieces[0]
    if name not in GRADERS:
        raise unknown("evaluator", name, GRADERS)
    arguments = _arguments(name, [*pairs, "=".join(pieces)] if colon else [])
    return Evaluator(name, _weight(text, weight), BuiltinTarget(name, arguments))


def _composed(text: str) -> Evaluator:
    where = "evaluator"
    try:
        grader = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise UserError(where, f"is no JSON: {e}", 'Write composed:{"type": ...}') from None
    composed.check(grader, where)
    name = re.sub(r"\W+", "_", str(grader.get("name") or grader["type"]))[:64]
    return Evaluator(name, None, ComposedTarget(grader))


def _source(text: str) -> tuple[Path, str]:
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        raise NotFound(f"evaluator {text}", "no such file", f"Did you mean {near[0]!r}?" if near else "Check the path")
    try:
        return path, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"evaluator {text}", f"cannot be read: {e}", "Give a UTF-8 Python file") from None


def _weight(text: str, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        weight = float(given)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UserError(
            "evaluator",
            f"the weight of {text!r} is {given!r}",
            "End with =number, as in =0.5; inside a value write %3D",
        )
    return weight


def _arguments(name: str, pairs: Sequence[str]) -> dict[str, Any]:
    """The typed arguments of a built-in."""
    allowed = GRADERS[name].arguments()
    arguments = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in allowed:
            raise unknown(f"evaluator {name}", key, allowed)
        if "=" in value:
            raise UserError(f"evaluator {name}", f"cannot read {pair!r}", "Write = inside a value as %3D, & as %26")
        arguments[key] = _typed(f"evaluator {name}.{key}", unquote(value), allowed[key])
    return arguments


def _typed(where: str, value: str, kind: Any) -> Any:
    """Text as the type that the function's annotation asks for."""
    if kind is bool:
        if value not in ("true", "false"):
            raise UserError(where, f"must be true or false (got {value!r})", "Write true or false")
        return value == "true"
    if kind is Folder:
        return str(Path(value).expanduser().resolve())
    try:
        return kind(value)
    except ValueError:
        raise UserError(where, f"must be {kind.__name__} (got {value!r})", f"Give one {kind.__name__}") from None
