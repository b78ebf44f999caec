"""One file per dataset format, and the table that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunesmith.data.formats import dpo, rft, sft
from tunesmith.data.problems import Check
from tunesmith.data.rows import Row


@dataclass(frozen=True, slots=True)
class Format:
    """How the lines of one kind of dataset become rows."""

    parse: Callable[[Check, dict[str, Any]], tuple[Row, ...]]
    """(where problems go, the line's object) -> its rows; unused when there are problems."""
    min_lines: int
    """Fewest lines of a dataset."""
    all_or_none: tuple[str, ...] = ()
    """Root fields that every row has, or none."""


FORMATS: dict[str, Format] = {
    "sft": Format(sft.parse, min_lines=3, all_or_none=("weight",)),
    "dpo": Format(dpo.parse, min_lines=3),
    "rft": Format(rft.parse, min_lines=1),
}
