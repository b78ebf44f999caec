r"""Graders for answers that are one number or one \boxed{} expression, without a computer algebra system."""

import math
import re

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import boxed, number_in, true_texts

ROUNDING = 1e-9
"""Numbers this close are one number written twice; 192,000,001 is not 192,000,000."""

_SPELLINGS = (
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\(?:left|right|,|;|!|quad|qquad)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\{?\\circ\}?|\\%|%"), ""),
    (re.compile(r"[\s$]"), ""),
)


def last_number(completion: str, row: Row, *, field: str = "", tolerance: float = ROUNDING) -> Score:
    """1 when the number after `####`, else the last number, equals the answer's: 1,234 = 1234.0, $3 = 3.

    `tolerance` is relative, and absolute below 1.
    """
    wanted = [number_in(option) for option in true_texts(row, field)]
    if None in wanted:
        raise GradingError("bad_row", "the answer holds no number")
    said = number_in(completion)
    if said is None:
        return Score(0.0, reason="no number")
    right = any(_close(said, number, tolerance) for number in wanted if number is not None)
    return Score(float(right), reason=f"read {said:g}")


def boxed_answer(completion: str, row: Row, *, field: str = "", tolerance: float = ROUNDING) -> Score:
    r"""1 when the last `\boxed{}` says the answer, up to spelling (\dfrac, \left, spaces, $) or as a number."""
    options = [boxed(option) or option for option in true_texts(row, field)]
    said = boxed(completion)
    if said is None:
        return Score(0.0, reason="no \\boxed{}")
    right = any(_same(said, option, tolerance) for option in options)
    return Score(float(right), reason=f"read {said[:200]}")


def _same(said: str, wanted: str, tolerance: float) -> bool:
    if _plain(said) == _plain(wanted):
        return True
    try:
        return _close(float(_plain(said).replace(",", "")), float(_plain(wanted).replace(",", "")), tolerance)
    except ValueError:
        return False


def _plain(expression: str) -> str:
    for pattern, replacement in _SPELLINGS:
        expression = pattern.sub(replacement, expression)
    return expression.rstrip(".")


def _close(a: float, b: float, tolerance: float) -> bool:
    return math.isfinite(a) and abs(a - b) <= tolerance * max(1.0, abs(b))
