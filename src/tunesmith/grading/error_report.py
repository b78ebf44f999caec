"""The failures of a step in a few lines: what went wrong most often, how often, and one traceback of each."""

import re
from collections.abc import Sequence

_CHANGING = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


def top_errors(errors: Sequence[str], k: int = 3) -> str:
    """The k most frequent failures with their counts, each shown by its first example.

    Args:
        errors: `label: detail` of every failed grading; they count as the same when only numbers differ.
    """
    examples: dict[str, list[str]] = {}
    for error in errors:
        examples.setdefault(_kind(error), []).append(error)
    ranked = sorted(examples.values(), key=len, reverse=True)
    shown = [f"{len(same)} x {same[0].strip()}" for same in ranked[:k]]
    rest = sum(len(same) for same in ranked[k:])
    return "\n\n".join(shown + ([f"{rest} x other"] if rest else []))


def _kind(error: str) -> str:
    """Label and last line, without numbers: a traceback's last line is the exception."""
    label, _, detail = error.partition(":")
    lines = detail.strip().splitlines() or [""]
    return f"{label}: {_CHANGING.sub('#', lines[-1])}"
