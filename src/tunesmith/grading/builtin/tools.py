"""Did the completion call the right functions with accepted arguments? Reads the spellings that models use."""

import ast
import json
import re
from contextlib import suppress
from typing import Any

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import json_value, same_json, truth

Call = tuple[str, Any]
"""(function name, arguments: a dict, or whatever text stood in their place)."""


def tool_call(completion: str, row: Row, *, field: str = "") -> Score:
    """1 when the calls in the completion are the answer's, in any order: names and every argument.

    Completion: `<tool_call>{...}</tool_call>`, JSON `{"name", "arguments"}` or `{"tool_calls": [...]}`, or Python
    `f(x=1)`. Answer: BFCL's `[{name: {argument: [accepted values]}}]`, where "" means it may be left out, or OpenAI's
    `{"tool_calls": [...]}`.
    """
    wanted = _wanted(truth(row, field))
    said = _said(completion)
    names = sorted(name for name, _ in said) == sorted(name for name, _ in wanted)
    right = names and _all_matched(said, wanted)
    reason = "" if right else f"called {', '.join(name for name, _ in said)[:200] or 'nothing'}"
    return Score(float(right), {"names": float(names)}, reason)


def _all_matched(said: list[Call], wanted: list[Call]) -> bool:
    """Pair every call with an answer that accepts it, each answer once."""
    left = list(wanted)
    for name, arguments in said:
        match = next((w for w in left if w[0] == name and _accepts(w[1], arguments)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _wanted(found: Any) -> list[Call]:
    """The answer's calls; BFCL's accepted values stay lists inside an _Accepted."""
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            raise GradingError("bad_row", f"the answer is not JSON: {found[:200]!r}") from None
    calls = _calls(found)
    if calls is not None:
        return calls
    if isinstance(found, list) and all(isinstance(c, dict) and len(c) == 1 for c in found):
        return [(name, _Accepted(options)) for call in found for name, options in call.items()]
    raise GradingError("bad_row", "the answer is neither BFCL's list of calls nor OpenAI's tool_calls")


class _Accepted(dict[str, list[Any]]):
    """Argument -> accepted values, as BFCL writes them."""


def _accepts(wanted: Any, said: Any) -> bool:
    if not isinstance(wanted, _Accepted):
        return same_json(said, wanted)
    if not isinstance(said, dict) or set(said) - set(wanted):
        return False
    return all(
        any(_equal(said[name], option) for option in options) if name in said else "" in options
        for name, options in wanted.items()
    )


def _equal(said: Any, option: Any) -> bool:
    """BFCL's equality: text without case, spaces and punctuation; a dict option lists accepted values per key."""
    if isinstance(said, str) and isinstance(option, str):
        return _bare(said) == _bare(option)
    if isinstance(said, list | tuple) and isinstance(option, list | tuple):
        return len(said) == len(option) and all(_equal(a, b) for a, b in zip(said, option, strict=True))
    if isinstance(said, dict) and isinstance(option, dict):
        return _accepts(_Accepted({k: v if isinstance(v, list) else [v] for k, v in option.items()}), said)
    return same_json(said, option)


def _bare(text: str) -> str:
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


def _said(completion: str) -> list[Call]:
    pieces = [piece.partition("</tool_call>")[0] for piece in completion.split("<tool_call>")[1:]]
    if pieces:
        return [call for piece in pieces for call in _from_json(piece) or [("", piece[:200])]]
    found = _from_json(completion)
    return found if found is not None else _from_python(completion)


def _from_json(text: str) -> list[Call] | None:
    try:
        return _calls(json_value(text))
    except ValueError:
        return None


def _calls(value: Any) -> list[Call] | None:
    """Calls written as JSON, or None when the value is something else."""
    if isinstance(value, dict) and "tool_calls" in value:
        return _calls(value["tool_calls"] or [])
    if isinstance(value, list):
        calls = [_calls(item) for item in value]
        return None if None in calls else [call for each in calls if each is not None for call in each]
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return None
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    return [(inner["name"], {} if arguments is None else arguments)]


def _from_python(text: str) -> list[Call]:
    try:
        tree = ast.parse(text.strip().strip("`").strip(), mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        if not all(isinstance(node, ast.Call) and not node.args for node in nodes):
            return []
        return [
            (ast.unparse(node.func), {str(k.arg): ast.literal_eval(k.value) for k in node.keywords})
            for node in nodes
            if isinstance(node, ast.Call)
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        return []
