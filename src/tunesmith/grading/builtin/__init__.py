"""The graders that come with Tunesmith. To add one: a function, and its line in GRADERS.

A function takes ``(completion, row)`` and keyword-only arguments whose annotations (str, int, float, bool, Folder)
say how text from an evaluator string is read; it returns what a user's grader may return, or raises `bad_row`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.grading.builtin import code, mathematics, numbers, sql, structured, text, tools


@dataclass(frozen=True, slots=True)
class Builtin:
    """One line of the table."""

    function: Callable[..., Any]
    where: Literal["inline", "worker"]
    """Inline only what takes linear time whatever the completion; everything that could hang runs in a worker."""
    imports: tuple[str, ...] = ()
    """Heavy modules that a worker loads before it starts its clock."""
    injected: tuple[str, ...] = ()
    """Arguments that the pool supplies: in a worker `budget_s`, seconds it may use; inline `num_tokens`, sampled."""

    opens_files: bool = False
    """Whether a row may name files for it, which no row of a client's may."""
    runs_code: bool = False
    """Whether it runs what the model wrote."""

    @property
    def docs(self) -> str:
        """What the grader does, its row fields and its arguments."""
        return inspect.getdoc(self.function) or ""

    def arguments(self) -> dict[str, Any]:
        """Name -> type of the arguments that an evaluator string may set."""
        keywords = inspect.signature(self.function).parameters.values()
        return {p.name: p.annotation for p in keywords if p.kind is p.KEYWORD_ONLY and p.name not in self.injected}


GRADERS: dict[str, Builtin] = {
    "exact_match": Builtin(text.exact_match, "inline"),
    "contains": Builtin(text.contains, "inline"),
    "format": Builtin(text.tagged_format, "inline"),
    "length": Builtin(text.length, "inline", injected=("num_tokens",)),
    "repetition": Builtin(text.repetition, "inline"),
    "last_number": Builtin(numbers.last_number, "inline"),
    "boxed": Builtin(numbers.boxed_answer, "inline"),
    "tool_call": Builtin(tools.tool_call, "worker"),
    "regex": Builtin(structured.regex, "worker"),
    "json_schema": Builtin(structured.json_schema, "worker", imports=("jsonschema",)),
    "math": Builtin(mathematics.math_equal, "worker", imports=("math_verify",), injected=("budget_s",)),
    "unit_tests": Builtin(code.unit_tests, "worker", injected=("budget_s",), runs_code=True),
    "sql": Builtin(sql.same_rows, "worker", imports=("sqlite3",), injected=("budget_s",), opens_files=True),
}
