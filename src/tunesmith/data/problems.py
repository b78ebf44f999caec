"""What is wrong with a dataset, line by line, and the report that says so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tunesmith.core.errors import UserError
from tunesmith.data.rows import Row

SHOWN = 20
SHOWN_CHARS = 60
SHOWN_LINES = 10
_INDEX = re.compile(r"\[\d+\]|(?<=^column )\d+|(?<=^byte )\d+")

R_co = TypeVar("R_co", bound=Row, covariant=True)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one place.

    Example: str(problem) ->
        train.jsonl:16: messages[2].role: found 'bot', unknown role. Use system, user, assistant or tool
    """

    line: int
    """1-based; for a whole file, the line where it shows."""
    field: str
    """Path inside the row, such as messages[2].role, or a column of the line."""
    found: str
    """What stands there, shortened; empty when nothing does."""
    problem: str
    mend: str
    whole_file: bool = False
    """True when leaving out the line would not mend it."""
    file: str = ""
    """Name of the dataset file."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file else f"line {self.line}"
        found = f"found {self.found}, " if self.found else ""
        return f"{place}: {self.field}: {found}{self.problem}. {self.mend}"


@dataclass(slots=True)
class Check:
    """Collects what is wrong with one line while it is parsed, so that a user sees all of it at once."""

    line: int
    problems: list[Problem] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    """Fields that training does not read."""
    notes: set[str] = field(default_factory=set)
    """Sentences about accepted things that a user may not expect."""

    def refuse(self, field: str, found: Any, problem: str, mend: str) -> None:
        self.problems.append(Problem(self.line, field, shown(found), problem, mend))

    def missing(self, field: str, found: str, mend: str) -> None:
        name = field.rpartition(".")[2]
        self.problems.append(Problem(self.line, field, found, f"Missing required field '{name}'", mend))


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a dataset file."""

    lines: int = 0
    """Lines with something on them."""
    blank: int = 0
    """Empty lines, which are skipped."""
    examples: int = 0
    """Training rows they make; more than ``lines`` when conversations with reasoning are split."""
    messages: int = 0
    """Messages in those rows."""
    problems: int = 0
    """All problems; ``Report.problems`` keeps the first 10,000."""


@dataclass(frozen=True, slots=True)
class Report(Generic[R_co]):
    """The verdict on one dataset file."""

    path: Path
    kind: str
    rows: tuple[R_co, ...]
    """The rows to train on, in file order; empty after ``check_file``, which keeps none."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What was accepted but is worth knowing: ignored fields, skipped blank lines, split conversations."""
    skipped: tuple[int, ...]
    """Lines left out because they are bad; only when that was asked for."""
    counts: Counts

    def raise_if_bad(self) -> None:
        """Refuse the dataset when something is wrong that leaving out lines has not mended.

        Raises:
            UserError: lists the first 20 problems in full, alike ones once with the other lines they are on, and
                counts the rest.
        """
        blocking = [p for p in self.problems if p.whole_file or not self.skipped]
        if not blocking:
            return
        alike = _alike(blocking)
        total = len(blocking) if self.skipped else self.counts.problems
        hidden = total - sum(map(len, alike[:SHOWN]))
        lines = [f"Dataset validation failed: {blocking[0].problem} on line {blocking[0].line}"]
        lines += [f"  {_with_others(group)}" for group in alike[:SHOWN]]
        lines += [f"  and {hidden} more"] if hidden else []
        skippable = not any(p.whole_file for p in blocking)
        mend = "Mend these lines, or set skip_bad_rows to leave them out" if skippable else "Mend the file"
        raise UserError(str(self.path), "\n".join(lines), mend)


def in_file(problem: Problem, file: str) -> Problem:
    return replace(problem, file=file)


def _alike(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Problems with one cause and one mend, in the order of the first of each."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((_INDEX.sub("[]", problem.field), problem.problem, problem.mend), []).append(problem)
    return list(groups.values())


def _with_others(group: Sequence[Problem]) -> str:
    lines = sorted({problem.line for problem in group[1:]} - {group[0].line})
    if not lines:
        return str(group[0])
    some = ", ".join(map(str, lines[:SHOWN_LINES])) + (", …" if len(lines) > SHOWN_LINES else "")
    return f"{group[0]} (the same on {len(lines)} more lines: {some})"


def shown(value: Any) -> str:
    """A short, printable picture of a JSON value: what a user must see to find it."""
    if isinstance(value, dict):
        return shown_fields(value)
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_CHARS else value[:SHOWN_CHARS] + "…")
    return f"{value:g}" if isinstance(value, float) else _shown_int(value)


def shown_fields(value: dict[str, Any]) -> str:
    if not value:
        return "an empty object"
    names = ", ".join(name if len(name) <= SHOWN_CHARS else name[:SHOWN_CHARS] + "…" for name in list(value)[:8])
    return f"an object with {names}" + (", …" if len(value) > 8 else "")


def _shown_int(value: int) -> str:
    return str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
