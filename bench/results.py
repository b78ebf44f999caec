"""bench/RESULTS.md: a part per benchmark, each written by its own script without touching the others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
_PART = re.compile(r"(?m)^(?=# )")


@dataclass(frozen=True, slots=True)
class Line:
    """What a measurement came to, beside what it was to come to."""

    what: str
    found: str
    target: str
    met: bool
    note: str = ""


FOUND = ("what", "found", "target", "", "beside it")


def cells(line: Line) -> tuple[str, ...]:
    """A row below FOUND."""
    return (line.what, line.found, line.target, verdict(line.met), line.note)


def verdict(met: bool) -> str:
    return "met" if met else "missed"


def facts(head: Mapping[str, str]) -> str:
    """The machine and the versions, one a line."""
    return "\n".join(f"- {name}: {value}" for name, value in head.items())


def row(cells: Sequence[str]) -> str:
    """One row of a Markdown table; of an empty cell no more than its bars are written."""
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def part(
    heading: str, about: str, head: Mapping[str, str], columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """One benchmark's part as Markdown: what was measured, on which machine, and the table of it."""
    table = [row(columns), "|---" * len(columns) + "|", *map(row, rows)]
    return "\n\n".join([f"# {heading}", about, facts(head), "\n".join(table)]) + "\n"


def tell(text: str, write: bool) -> None:
    """Show a part, and put it in its place where that is wanted."""
    print(text)
    if write:
        write_part(text)


def write_part(text: str, results: Path = RESULTS) -> None:
    """Replace the part that begins with the same ``# heading`` as ``text``, or add it at the end."""
    heading = text.splitlines()[0]
    assert heading.startswith("# "), "a part begins with its heading"
    before = results.read_text("utf-8") if results.is_file() else ""
    parts = [part.rstrip() for part in _PART.split(before) if part.strip()]
    places = [i for i, part in enumerate(parts) if part.splitlines()[0] == heading]
    for i in places or [len(parts)]:
        parts[i : i + 1] = [text.rstrip()]
    results.write_text("\n\n".join(parts) + "\n", "utf-8")
