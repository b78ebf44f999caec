"""What a grader that is data may say; everything else is refused here, with its place."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tunesmith.core.errors import UserError, unknown
from tunesmith.grading.composed import formula, judged, templates
from tunesmith.grading.composed.similarity import METRICS, REFUSED

OPERATIONS = ("eq", "ne", "like", "ilike")
MAX_SOURCE = 256 << 10
MAX_GRADERS = 64
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")


def check(grader: Any, where: str) -> None:
    """
    Raises:
        UserError: names the place, what is wrong there, and what to write.
    """
    if not isinstance(grader, dict):
        raise UserError(where, "is no object", 'Write {"type": "string_check", ...}')
    kind = grader.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown(f"{where}.type", str(kind)[:100], KINDS)
    KINDS[kind](grader, where)


def runs_python(grader: Mapping[str, Any]) -> bool:
    """Whether any part of a checked grader is source code."""
    parts = grader["graders"].values() if grader["type"] == "multi" else ()
    return grader["type"] == "python" or any(map(runs_python, parts))


def _string_check(grader: Mapping[str, Any], where: str) -> None:
    _only(grader, where, {"operation", "input", "reference"})
    operation = grader.get("operation")
    if operation not in OPERATIONS:
        raise unknown(f"{where}.operation", str(operation)[:100], OPERATIONS)
    _templates(grader, where)


def _text_similarity(grader: Mapping[str, Any], where: str) -> None:
    _only(grader, where, {"evaluation_metric", "input", "reference"})
    metric = grader.get("evaluation_metric")
    if isinstance(metric, str) and metric in REFUSED:
        raise UserError(f"{where}.evaluation_metric", f"{metric} {REFUSED[metric]}", f"Use one of {', '.join(METRICS)}")
    if metric not in METRICS:
        raise unknown(f"{where}.evaluation_metric", str(metric)[:100], METRICS)
    _templates(grader, where)


def _python(grader: Mapping[str, Any], where: str) -> None:
    _only(grader, where, {"source"})
    source = grader.get("source")
    if not isinstance(source, str) or not source.strip():
        raise UserError(f"{where}.source", "is no Python source", "Define grade(sample, item), which returns a number")
    if len(source) > MAX_SOURCE:
        raise UserError(f"{where}.source", f"has more than {MAX_SOURCE >> 10} kB", "Shorten it")


def _judged(grader: Mapping[str, Any], where: str) -> None:
    _only(grader, where, judged.OWN[grader["type"]])
    judged.check(grader, where)


def _multi(grader: Mapping[str, Any], where: str) -> None:
    _only(grader, where, {"graders", "calculate_output"})
    parts = grader.get("graders")
    if not isinstance(parts, dict) or not parts or len(parts) > MAX_GRADERS:
        raise UserError(f"{where}.graders", "is no object of graders by name", 'Write {"name": {"type": ...}}')
    for name, part in parts.items():
        if not _NAME.fullmatch(name) or name in formula.FUNCTIONS:
            raise UserError(f"{where}.graders", f"{name!r:.80} is no name for a formula", "Use letters, digits and _")
        if isinstance(part, dict) and part.get("type") == "multi":
            raise UserError(f"{where}.graders.{name}", "is a multi inside a multi", "Write one formula for all of them")
        check(part, f"{where}.graders.{name}")
    given = grader.get("calculate_output")
    tree = formula.parse(given) if isinstance(given, str) else None
    if tree is None:
        known = ", ".join(formula.FUNCTIONS)
        mend = f"Use names, numbers, + - * / ^, parentheses and {known}"
        raise UserError(f"{where}.calculate_output", f"cannot be {given!r:.100}", mend)
    if formula.names(tree) != set(parts):
        said = f"names {', '.join(sorted(formula.names(tree)))}; the graders are {', '.join(sorted(parts))}"
        raise UserError(f"{where}.calculate_output", said[:300], "Name every grader, and nothing else")


KINDS: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "string_check": _string_check,
    "text_similarity": _text_similarity,
    "python": _python,
    "score_model": _judged,
    "label_model": _judged,
    "multi": _multi,
}
"""Kind of grader -> its check."""


def _templates(grader: Mapping[str, Any], where: str) -> None:
    for field in ("input", "reference"):
        template = grader.get(field)
        if not isinstance(template, str):
            raise UserError(f"{where}.{field}", "is no text", "Write {{sample.output_text}}, or {{item.answer}}")
        if problem := templates.problem(template):
            raise UserError(f"{where}.{field}", problem, "Write {{sample.output_text}}, or {{item.answer}}")


def _only(grader: Mapping[str, Any], where: str, own: Collection[str]) -> None:
    known = {"type", "name", *own}
    for key in grader:
        if key not in known:
            raise unknown(where, str(key)[:100], known)
