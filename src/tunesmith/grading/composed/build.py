"""From a checked grader to a function, in the process where users' code may run."""

import ast
import linecache
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Score
from tunesmith.grading.composed import formula, judged
from tunesmith.grading.composed.fields import Fields, fields_of, filled
from tunesmith.grading.composed.similarity import METRICS
from tunesmith.grading.verdict import as_score

SOURCE = "<grader>"
"""The name of Python source in tracebacks."""
REWARDS = "rewards"
"""Of models that were asked, among the fields."""


def build(grader: Mapping[str, Any]) -> Callable[..., Score]:
    """The grader as a function of completion and row; Python source is run once, here.

    Where parts of it ask a model, their rewards by name are the third argument: no model is reached from here.
    """
    score = _built(grader)
    return lambda completion, row, rewards=(): score({**fields_of(completion, row), REWARDS: dict(rewards)})


def _built(grader: Mapping[str, Any], name: str = "") -> Callable[[Fields], Score]:
    if grader["type"] in judged.OWN:
        return lambda fields: Score(fields[REWARDS][name])
    return _BUILT[grader["type"]](grader)


def _string_check(grader: Mapping[str, Any]) -> Callable[[Fields], Score]:
    compare = _COMPARISONS[grader["operation"]]
    return lambda fields: Score(float(compare(*_texts(grader, fields))))


def _text_similarity(grader: Mapping[str, Any]) -> Callable[[Fields], Score]:
    metric = METRICS[grader["evaluation_metric"]]
    metric("", "")  # Loads what it needs before any clock runs.
    return lambda fields: Score(metric(*_texts(grader, fields)))


def _python(grader: Mapping[str, Any]) -> Callable[[Fields], Score]:
    module = ModuleType("tunesmith_grader")
    source = grader["source"]
    linecache.cache[SOURCE] = (len(source), None, source.splitlines(keepends=True), SOURCE)
    exec(compile(source, SOURCE, "exec"), vars(module))
    function = getattr(module, "grade", None)
    if not callable(function):
        raise NameError("the source defines no function grade(sample, item)")
    return lambda fields: as_score(function(fields["sample"], fields["item"]))


def _multi(grader: Mapping[str, Any]) -> Callable[[Fields], Score]:
    parts = {name: _built(part, name) for name, part in grader["graders"].items()}
    tree = formula.parse(grader["calculate_output"])
    assert isinstance(tree, ast.expr), "it was checked"

    def score(fields: Fields) -> Score:
        scores = {name: part(fields).reward for name, part in parts.items()}
        try:
            return Score(formula.value(tree, scores), scores)
        except (ArithmeticError, ValueError) as e:
            raise GradingError("bad_value", f"{grader['calculate_output']} has no value at {scores}: {e}") from None

    return score


_BUILT: Mapping[str, Callable[[Mapping[str, Any]], Callable[[Fields], Score]]] = {
    "string_check": _string_check,
    "text_similarity": _text_similarity,
    "python": _python,
    "multi": _multi,
}
_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text.strip() == reference.strip(),
    "ne": lambda text, reference: text.strip() != reference.strip(),
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


def _texts(grader: Mapping[str, Any], fields: Fields) -> tuple[str, str]:
    return filled(grader["input"], fields), filled(grader["reference"], fields)
