"""Rows of a dataset as a model reads them, and what of them is trained."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data import load_rows
from tunesmith.data.rows import RftRow
from tunesmith.models.chat import ChatRenderer


@dataclass(frozen=True, slots=True)
class PreviewPart:
    """Text that is trained alike."""

    text: str
    weight: float
    """0 is read by the model but not trained."""


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One conversation."""

    line: int
    """1-based."""
    label: str
    """Of a pair: preferred or not preferred; else empty."""
    num_tokens: int
    parts: tuple[PreviewPart, ...]
    graded: str = ""
    """Of a prompt: what else the row holds, for its grader, as JSON."""


def preview(file: Path, kind: str, renderer: ChatRenderer, most_rows: int) -> Iterator[PreviewRow]:
    """The first rows; of a pair both answers.

    Raises:
        UserError: an unknown kind, or rows that are no rows of it.
    """
    for row in load_rows(file, kind).rows[:most_rows]:
        for label, messages in _conversations(row):
            if kind == "rft":
                tokens = renderer.prompt(messages, row.tools)
                pieces, count = [("".join(map(renderer.piece, tokens)), 0.0)], len(tokens)
            else:
                pieces = renderer.preview(messages, row.tools)
                count = len(renderer.conversation(messages, row.tools)[0])
            parts = tuple(PreviewPart(text, weight) for text, weight in pieces)
            yield PreviewRow(row.line, label, count, parts, for_grader(row.row) if isinstance(row, RftRow) else "")


def for_grader(row: Mapping[str, Any]) -> str:
    """What a row holds for its grader alone, as JSON; empty where there is nothing."""
    given = {name: value for name, value in row.items() if name not in ("messages", "prompt", "tools")}
    return json.dumps(given, ensure_ascii=False) if given else ""


def _conversations(row: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    """(label, messages) of a row: one, or the better and the worse answer of a pair."""
    if hasattr(row, "preferred"):
        prompt = [{**m, "weight": 0} for m in row.messages]
        return [("preferred", [*prompt, row.preferred]), ("not preferred", [*prompt, row.rejected])]
    return [("", list(row.messages))]
