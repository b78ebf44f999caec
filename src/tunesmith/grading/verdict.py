"""What a grader may return, made into a Score; anything else is a failure with the label `bad_value`."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

import numpy as np

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Metrics, Score

LABELS: Final = {
    "timeout": "ran longer than the wall time of one grading",
    "memory": "needed more memory than a grader may have",
    "crash": "its process died: os._exit, a segmentation fault, a kill, closed descriptors",
    "processes": "left or started more processes than a grader may have",
    "error": "raised an exception; the detail is the traceback of the grader's own frames",
    "bad_value": "returned something that is not a finite number, a dict with one, or a Score",
    "judge": "a model that grades came to no result: too few tokens for its answer, or a question beyond its context",
    "rollout": "an uploaded evaluator's rollout failed before it could be scored",
    "invalid": "an uploaded evaluator says that its score does not count: is_score_valid is false",
    "bad_row": "the row lacks what this grader needs, or the reverse: it does not fit in JSON",
}
"""Every label of a GradingError and what it means."""

MAX_TEXT = 10_000
MAX_PARTS = 256


def as_score(value: Any) -> Score:
    """float | bool | dict with "reward" or "score" | Score -> Score.

    Raises:
        GradingError: `bad_value`, naming what was returned.
    """
    if isinstance(value, Score):
        return Score(_number(value.reward, "reward"), _parts(value.parts), _reason(value.reason))
    if isinstance(value, Mapping):
        return _from_mapping(value)
    return Score(_number(value, "the returned value"))


def _from_mapping(value: Mapping[Any, Any]) -> Score:
    key = "reward" if "reward" in value else "score"
    if key not in value:
        raise GradingError("bad_value", f'a dict needs "reward" or "score"; this one has {_names(value)}')
    given = value.get("parts") or {}
    if not isinstance(given, Mapping):
        raise GradingError("bad_value", f"parts is {_shown(given)}, not a dict of numbers")
    others = {k: v for k, v in value.items() if k not in (key, "reason", "parts")}
    return Score(_number(value[key], key), _parts({**given, **others}), _reason(value.get("reason")))


def _parts(parts: Mapping[Any, Any]) -> Metrics:
    if len(parts) > MAX_PARTS:
        raise GradingError("bad_value", f"{len(parts)} parts; at most {MAX_PARTS}")
    return {str(name)[:200]: _number(part, f"part {str(name)[:200]!r}") for name, part in parts.items()}


def _number(value: Any, what: str) -> float:
    if not isinstance(value, Real | np.bool_):
        raise GradingError("bad_value", f"{what} is {_shown(value)}; return a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise GradingError("bad_value", f"{what} is {number}; return a finite number")
    return number


def _reason(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GradingError("bad_value", f"reason is {_shown(value)}, not text")
    return value[:MAX_TEXT]


def _shown(value: Any) -> str:
    kind = type(value).__name__
    return "None" if value is None else f"{kind} {value[:80]!r}" if isinstance(value, str) else f"a {kind}"


def _names(value: Mapping[Any, Any]) -> str:
    return ", ".join(repr(str(k))[:80] for k in list(value)[:10]) or "no keys"
