"""Reading rows and completions: where the truth stands, the final number, code blocks, JSON.

Everything here takes time linear in the text, because some graders run it inside the event loop.
"""

import json
import re
from typing import Any, Final, NewType

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row

TRUTH_FIELDS: Final = ("ground_truth", "answer", "target", "expected")
"""Fields that may hold the right answer, the first one present is used."""

Folder = NewType("Folder", str)
"""Annotation of an argument that names a folder: a relative one is made absolute where the job starts."""

_NUMBER = re.compile(
    r"(?:(?<![\w)])[-\u2212])?\$?(?:\d{1,3}(?:,\d{3}){1,6}(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d+)?"
)
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
_MAX_JSON_STARTS = 32
_MAX_BOXES = 8


def truth(row: Row, field: str = "") -> Any:
    """The right answer of a row: ``field`` where given, else the first of TRUTH_FIELDS.

    Raises:
        GradingError: `bad_row`, naming the fields that are there.
    """
    names = (field,) if field else TRUTH_FIELDS
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if found is None:
        wanted = repr(field) if field else f"one of {', '.join(TRUTH_FIELDS)}"
        raise GradingError("bad_row", f"needs {wanted}; the row has {', '.join(row) or 'no fields'}")
    return found


def true_texts(row: Row, field: str = "") -> list[str]:
    """The right answers as text: one, or any of a list."""
    found = truth(row, field)
    options = found if isinstance(found, list) else [found]
    if not options or not all(isinstance(option, str | int | float) for option in options):
        raise GradingError("bad_row", f"the answer is a {type(found).__name__}; needs text, a number or a list of them")
    return [str(option) for option in options]


def number_in(text: str) -> float | None:
    """The number after the last `####`, else the last number: 1,234 and $3.50 and -2e3; None when there is none."""
    tail = text.rpartition("####")[2]
    found = _NUMBER.findall(tail)
    if not found:
        return None
    return float(found[-1].replace(",", "").replace("$", "").replace("\u2212", "-"))


def boxed(text: str) -> str | None:
    r"""The content of the last complete \boxed{...}, nested braces and all."""
    before = len(text)
    for _ in range(_MAX_BOXES):
        before = text.rfind("\\boxed{", 0, before)
        if before < 0:
            return None
        start = before + len("\\boxed{")
        end = _closing_brace(text, start)
        if end is not None:
            return text[start:end]
    return None


def code_block(text: str, *languages: str) -> str | None:
    """The longest fenced block in one of the languages, else the longest of any; None when nothing is fenced."""
    fences = list(_FENCE.finditer(text))
    blocks = []
    for i in range(0, len(fences), 2):
        end = fences[i + 1].start() if i + 1 < len(fences) else len(text)
        blocks.append((fences[i][1].lower(), text[fences[i].end() + 1 : end]))
    fitting = [code for language, code in blocks if language in languages] or [code for _, code in blocks]
    return max(fitting, key=len) if fitting else None


def json_value(text: str) -> Any:
    """The JSON in a completion: all of it, its fenced block, or the first object or array that parses.

    Raises:
        ValueError: there is none.
    """
    for candidate in (text, code_block(text, "json")):
        if candidate is not None:
            try:
                return json.loads(candidate)
            except (ValueError, RecursionError):
                continue
    decoder = json.JSONDecoder()
    for start, _ in zip(re.finditer(r"[{\[]", text), range(_MAX_JSON_STARTS), strict=False):
        try:
            return decoder.raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError("the completion holds no JSON")


def same_json(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 and 1.0 are the same number, true is none, the order of keys does not matter."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in re.compile(r"\\?[{}]").finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None
