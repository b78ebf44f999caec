"""Questions about the metrics of a run so far: series by name, averages at both ends, noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, overload

from tunesmith.core.types import Metrics

Settings = Mapping[str, Any]
"""The fields of a job's spec; empty when they are not known."""
History = Sequence[Metrics]
"""One dict per line of metrics.jsonl, oldest first, each with "step"; no metric has to be in every line."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the steps that have it."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def last(self, n: int) -> "Series":
        """The n newest points, or as many as there are."""
        return Series(self.steps[-n:], self.values[-n:])

    def first(self, n: int) -> "Series":
        return Series(self.steps[:n], self.values[:n])

    def until(self, step: int) -> "Series":
        """The points up to and including a step."""
        return self.first(sum(s <= step for s in self.steps))

    def at(self, step: int) -> float | None:
        """The value measured at a step, if it was."""
        return dict(zip(self.steps, self.values, strict=True)).get(step)

    def mean(self) -> float:
        return fmean(self.values)

    def smoothed(self, window: int) -> "Series":
        """Averages of every ``window`` neighbouring points, placed at the newest of them."""
        spans = range(window, len(self.values) + 1)
        return Series(tuple(self.steps[i - 1] for i in spans), tuple(fmean(self.values[i - window : i]) for i in spans))

    def noise(self) -> float:
        """Standard deviation of one point around the trend, from the median jump between neighbours.

        For independent normal noise s the median of |x[i+1] - x[i]| is 0.954 s; a single fall does not move it.
        """
        jumps = [abs(b - a) for a, b in zip(self.values, self.values[1:], strict=False)]
        return median(jumps) / 0.954 if jumps else math.inf


class Lines(Sequence[Metrics]):
    """A history that grows by a line a step, its series at hand: rules need not read it all again at every step."""

    def __init__(self, lines: Sequence[Metrics] = ()) -> None:
        self._lines: list[Metrics] = []
        self._columns: dict[str, tuple[list[int], list[float]]] = {}
        for line in lines:
            self.append(line)

    def append(self, line: Metrics) -> None:
        self._lines.append(line)
        step = int(line["step"])
        for name, value in line.items():
            steps, values = self._columns.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)

    def series(self, name: str) -> Series:
        steps, values = self._columns.get(name, ((), ()))
        return Series(tuple(steps), tuple(values))

    def names(self) -> set[str]:
        return set(self._columns)

    @overload
    def __getitem__(self, at: int) -> Metrics: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Metrics]: ...
    def __getitem__(self, at: int | slice) -> Metrics | Sequence[Metrics]:
        return self._lines[at]

    def __len__(self) -> int:
        return len(self._lines)


def names(history: History) -> set[str]:
    """Every metric that was measured."""
    return history.names() if isinstance(history, Lines) else {name for line in history for name in line}


def series(history: History, name: str) -> Series:
    """The metric ``name`` wherever it was measured."""
    if isinstance(history, Lines):
        return history.series(name)
    points = [(int(line["step"]), line[name]) for line in history if name in line]
    return Series(tuple(step for step, _ in points), tuple(value for _, value in points))


WINDOW = 3
"""Steps that an average or "in a row" spans, so that one odd step proves nothing."""
CEILING = 0.95
"""Mean reward from which on a task counts as solved. Rewards are taken to end at 1, as those of built-in graders do."""


def recent(history: History, name: str) -> Series:
    """The newest WINDOW points of a metric, or as many as there are."""
    return series(history, name).last(WINDOW)


def ends(history: History, name: str) -> tuple[float, float] | None:
    """Averages of a metric's first and last WINDOW points; None while they overlap or where it is not measured."""
    values = series(history, name)
    return (values.first(WINDOW).mean(), values.last(WINDOW).mean()) if len(values) >= 2 * WINDOW else None


def solved_by(history: History) -> bool:
    """Rewards of 0 and 1 spread widely even at a mean of 0.98, so the mean alone decides."""
    mean = recent(history, "rollout/reward_mean")
    return len(mean) == WINDOW and min(mean.values) >= CEILING


def rising(history: History) -> bool:
    """The mean reward of the newest WINDOW steps is above that of the WINDOW before, by more than noise."""
    rewards = series(history, "rollout/reward_mean")
    both = rewards.last(2 * WINDOW)
    if len(both) < 2 * WINDOW:
        return True
    return both.last(WINDOW).mean() - both.first(WINDOW).mean() > max(0.02, rewards.noise())
