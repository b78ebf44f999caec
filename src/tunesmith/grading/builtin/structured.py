"""Graders for patterns and JSON. Regular expressions can take exponential time, so these run in a worker."""

import json
import re
from typing import Any

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import TRUTH_FIELDS, json_value, same_json, true_texts, truth


def regex(completion: str, row: Row, *, pattern: str = "", field: str = "", ignore_case: bool = False) -> Score:
    """1 when `pattern` (argument, or the row's `pattern`) is found; with a group, when its last match is the answer.

    `.` matches line ends too, `^` and `$` match at lines.
    """
    given = pattern or row.get("pattern")
    if not isinstance(given, str) or not given:
        raise GradingError("bad_row", f"needs pattern; the row has {', '.join(row) or 'no fields'}")
    try:
        expression = re.compile(given, re.DOTALL | re.MULTILINE | (re.IGNORECASE if ignore_case else 0))
    except re.error as e:
        raise GradingError("bad_row", f"pattern {given!r}: {e}") from None
    wanted = [option.strip() for option in true_texts(row, field)] if expression.groups else []
    found = list(expression.finditer(completion))
    if not found or not expression.groups:
        return Score(float(bool(found)))
    said = (found[-1][1] or "").strip()
    return Score(float(said in wanted), reason=f"read {said[:200]}")


def json_schema(completion: str, row: Row, *, schema: str = "", field: str = "") -> Score:
    """1 when the completion's JSON fits the row's JSON schema and equals its answer, whichever of the two is there.

    The schema is the field that `schema` names, else `schema` or `json_schema`. With a schema, the answer is compared
    only if it is JSON. Numbers compare by value, and the order of keys does not matter.
    """
    rules = _rules(row, schema)
    wanted = _wanted(row, field, schema, optional=rules is not None)
    try:
        said = json_value(completion)
    except ValueError as e:
        return Score(0.0, {"valid": 0.0}, str(e))
    problem = _problem(said, rules) if rules is not None else ""
    if not problem and wanted and not same_json(said, wanted[0]):
        problem = "is not the answer"
    return Score(float(not problem), {"valid": 1.0}, problem)


def _rules(row: Row, field: str) -> Any:
    names = (field,) if field else ("schema", "json_schema")
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if field and found is None:
        raise GradingError("bad_row", f"needs {field!r}; the row has {', '.join(row) or 'no fields'}")
    try:
        return json.loads(found) if isinstance(found, str) else found
    except ValueError as e:
        raise GradingError("bad_row", f"the schema is not JSON: {e}") from None


def _wanted(row: Row, field: str, schema: str, optional: bool) -> list[Any]:
    """The answer in a list, or an empty one when the schema is all there is."""
    others = {name: value for name, value in row.items() if name != schema}
    if optional and not field and all(others.get(name) is None for name in TRUTH_FIELDS):
        return []
    found = truth(others, field)
    try:
        return [json.loads(found) if isinstance(found, str) else found]
    except ValueError:
        if optional and not field:
            return []
        raise GradingError("bad_row", f"the answer is not JSON: {found[:200]!r}") from None


def _problem(said: Any, rules: Any) -> str:
    """The first place where the value breaks the schema, or nothing."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    try:
        Draft202012Validator.check_schema(rules)
    except SchemaError as e:
        raise GradingError("bad_row", f"not a JSON schema: {e.message[:500]}") from None
    error = best_match(Draft202012Validator(rules).iter_errors(said))
    return f"{error.json_path}: {error.message[:500]}" if error else ""
