"""OpenAI's graders as evaluator strings: those that have an equal here, the others are refused by name."""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from tunesmith.core.errors import UserError, unknown

OUTPUT = re.compile(r"\{\{\s*sample\.output_text\s*\}\}")
FIELD = re.compile(r"\{\{\s*item\.(\w+)\s*\}\}")
CHECKS = {
    "eq": "exact_match:field={field}",
    "like": "contains:field={field}",
    "ilike": "contains:field={field}&ignore_case=true",
}
"""Operation of a string_check -> the built-in grader that does the same."""
ELSEWHERE: Mapping[str, str] = {
    "text_similarity": "no built-in grader measures similarity",
    "python": "this server runs no code that a client sends",
    "score_model": "no model grades here",
    "label_model": "no model grades here",
    "endpoint": "this server sends no completions to other addresses",
}
MEND = "Use string_check with eq, like or ilike, or multi over several of them"


def evaluators(grader: Mapping[str, Any], where: str = "method.reinforcement.grader") -> list[str]:
    """A grader as strings that ``RftSpec.evaluator`` takes.

    Raises:
        UserError: a grader, an operation, a template or a formula that has no equal here; names it.
    """
    kind = grader.get("type")
    if kind == "string_check":
        return [_string_check(grader, where)]
    if kind == "multi":
        return _multi(grader, where)
    if isinstance(kind, str) and kind in ELSEWHERE:
        raise UserError(f"{where}.type", f"{kind} has no equal here: {ELSEWHERE[kind]}", MEND)
    raise unknown(f"{where}.type", str(kind)[:100], ("string_check", "multi", *ELSEWHERE))


def _string_check(grader: Mapping[str, Any], where: str) -> str:
    _only(grader, where, {"type", "name", "operation", "input", "reference"})
    operation, given = grader.get("operation"), str(grader.get("input"))
    if operation == "ne":
        raise UserError(f"{where}.operation", "ne has no equal here", "Use eq, like or ilike")
    if operation not in CHECKS:
        raise unknown(f"{where}.operation", str(operation)[:100], CHECKS)
    if not OUTPUT.fullmatch(given.strip()):
        problem = f"is {given!r:.100}: completions are compared as they are"
        raise UserError(f"{where}.input", problem, "Write {{sample.output_text}}")
    reference = str(grader.get("reference"))
    field = FIELD.fullmatch(reference.strip())
    if field is None:
        problem = f"is {reference!r:.100}: the right answer is a field of each row"
        raise UserError(f"{where}.reference", problem, "Write {{item.answer}} for the field answer")
    return CHECKS[operation].format(field=field[1])


def _multi(grader: Mapping[str, Any], where: str) -> list[str]:
    """A weighted sum."""
    _only(grader, where, {"type", "name", "graders", "calculate_output"})
    parts = grader.get("graders")
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError(f"{where}.graders", "is no object of graders by name", 'Write {"name": {"type": ...}}')
    weights = _weights(str(grader.get("calculate_output")), f"{where}.calculate_output")
    if set(weights) != set(parts):
        problem = f"sums {', '.join(sorted(weights))}; the graders are {', '.join(sorted(parts))}"
        raise UserError(f"{where}.calculate_output", problem[:300], "Name each grader once")
    nested = next((name for name, part in parts.items() if part.get("type") == "multi"), None)
    if nested is not None:
        raise UserError(f"{where}.graders.{nested}", "is a multi inside a multi", "Write one sum of all of them")
    strings = {name: evaluators(part, f"{where}.graders.{name}")[0] for name, part in parts.items()}
    return [f"{strings[name]}={weight!r}" for name, weight in weights.items()]


def _weights(formula: str, where: str) -> dict[str, float]:
    """Name -> factor of a formula such as ``0.7 * a + b / 2``."""
    refusal = UserError(
        where, f"cannot be {formula!r:.100}", "Write a sum of graders, each times a number: 0.7 * a + b"
    )
    if len(formula) > 1000:
        raise refusal
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise refusal from None
    weights: dict[str, float] = {}
    for sign, term in _terms(tree):
        found = _term(term)
        if found is None or found[0] in weights:
            raise refusal
        weights[found[0]] = sign * found[1]
    if not all(map(math.isfinite, weights.values())):
        raise refusal
    return weights


def _terms(tree: ast.expr) -> list[tuple[float, ast.expr]]:
    """(sign, summand), from left to right."""
    terms: list[tuple[float, ast.expr]] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
        terms.append((1.0 if isinstance(tree.op, ast.Add) else -1.0, tree.right))
        tree = tree.left
    return [(1.0, tree), *reversed(terms)]


def _term(term: ast.expr) -> tuple[str, float] | None:
    if isinstance(term, ast.Name):
        return term.id, 1.0
    if not isinstance(term, ast.BinOp) or not isinstance(term.op, ast.Mult | ast.Div):
        return None
    left, right = term.left, term.right
    if isinstance(left, ast.Constant) and isinstance(term.op, ast.Mult):
        left, right = right, left
    if not isinstance(left, ast.Name) or not isinstance(right, ast.Constant):
        return None
    if type(right.value) not in (int, float) or (isinstance(term.op, ast.Div) and not right.value):
        return None
    number = float(str(right.value))
    return left.id, number if isinstance(term.op, ast.Mult) else 1.0 / number


def _only(grader: Mapping[str, Any], where: str, known: set[str]) -> None:
    for name in grader:
        if name not in known:
            raise unknown(where, name[:100], known)
