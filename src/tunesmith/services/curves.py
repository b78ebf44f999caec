"""Metrics of runs as columns, for pages that look at the same growing files again and again.

What was read is kept for a few runs; a look reads only what was appended since.
"""

import json
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from threading import Lock

from tunesmith.services.run_folder import RunFolder

MOST_POINTS = 2000
"""Points given of a series; more are thinned to the lows and highs of equal spans."""
SMOOTH_OVER = 10
KEPT_RUNS = 32
_MARK_BYTES = 256
FILES = ("metrics.jsonl", "timing.jsonl")


@dataclass(slots=True)
class Column:
    """One metric wherever it was measured."""

    steps: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric, thinned."""

    steps: Sequence[int]
    values: Sequence[float]
    total: int
    """Points before thinning."""


@dataclass(slots=True)
class _File:
    """What is known of one file."""

    size: int = 0
    mark: bytes = b""
    """The last bytes that were read: where they changed, the run went back to a checkpoint."""
    columns: dict[str, Column] = field(default_factory=dict)


class Curves:
    """Series of runs by metric. Safe to use from several threads."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._lock = Lock()

    def of(
        self, run: RunFolder, names: Sequence[str], most: int = MOST_POINTS, smooth: bool = False
    ) -> dict[str, Curve]:
        """The metrics of a run that have been measured, of those named.

        Args:
            smooth: give trailing means instead of the values.
        """
        columns = self._columns(run)
        found = {name: columns[name] for name in names if name in columns}
        return {name: thinned(smoothed(column) if smooth else column, most) for name, column in found.items()}

    def names(self, run: RunFolder) -> list[str]:
        """Every metric of a run."""
        return sorted(self._columns(run))

    def last(self, run: RunFolder) -> dict[str, float]:
        """The newest value of every metric."""
        return {name: column.values[-1] for name, column in self._columns(run).items()}

    def total(self, run: RunFolder, name: str) -> float:
        """The sum of a metric over all steps; 0 where it was never measured."""
        column = self._columns(run).get(name)
        return sum(column.values) if column else 0.0

    def dot(self, run: RunFolder, name: str, other: str) -> float:
        """The sum over steps of the product of two metrics that were both measured there."""
        columns = self._columns(run)
        if name not in columns or other not in columns:
            return 0.0
        values = dict(zip(columns[other].steps, columns[other].values, strict=True))
        own = columns[name]
        return sum(value * values.get(step, 0.0) for step, value in zip(own.steps, own.values, strict=True))

    def _columns(self, run: RunFolder) -> dict[str, Column]:
        with self._lock:
            found: dict[str, Column] = {}
            for name in FILES:
                found |= self._read(run.path / name).columns
            return found

    def _read(self, path: Path) -> _File:
        known = self._files.pop(path, _File())
        if path.is_file():
            known = _read_on(path, known)
        self._files[path] = known
        while len(self._files) > len(FILES) * KEPT_RUNS:
            self._files.popitem(last=False)
        return known


def _read_on(path: Path, known: _File) -> _File:
    """What is known of a file with its newest complete lines; from the start where it is not the file it was."""
    with path.open("rb") as file:
        file.seek(known.size - len(known.mark))
        if file.read(len(known.mark)) != known.mark:
            known = _File()
            file.seek(0)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        metrics = json.loads(line)
        step = metrics.pop("step")
        for name, value in metrics.items():
            column = known.columns.setdefault(name, Column())
            column.steps.append(step)
            column.values.append(value)
    known.size += len(whole)
    known.mark = (known.mark + whole)[-_MARK_BYTES:]
    return known


def smoothed(column: Column) -> Column:
    """The mean of each value and the nine before it; a series of fewer than twenty stays as it is."""
    if len(column.values) < 2 * SMOOTH_OVER:
        return column
    sums = [0.0, *accumulate(column.values)]
    starts = (max(0, end - SMOOTH_OVER) for end in range(1, len(sums)))
    means = ((sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, start=1))
    return Column(column.steps, array("d", means))


def thinned(column: Column, most: int) -> Curve:
    """At most ``most`` points: the first, the last, and the low and the high of equal spans."""
    steps, values = column.steps, column.values
    total = len(steps)
    if total <= most:
        return Curve([int(step) for step in steps], list(values), total)
    span = -(-2 * total // (most - 2))
    kept = {0, total - 1}
    for start in range(0, total, span):
        part = range(start, min(start + span, total))
        kept |= {min(part, key=values.__getitem__), max(part, key=values.__getitem__)}
    chosen = sorted(kept)
    return Curve([int(steps[i]) for i in chosen], [values[i] for i in chosen], total)
