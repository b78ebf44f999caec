"""Runs side by side: the settings that differ, the metrics at the steps that they share, and the final cards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.health.history import History, series
from tunesmith.services.card import current_card
from tunesmith.services.chart import show_value
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec.load import KINDS

ABSENT = "absent"
"""Stands for a setting that a run of this kind does not have."""
NEVER_A_CAUSE = frozenset({"output_dir"})
MOST_RUNS = 10
MOST_STEPS = 8
"""Steps that the text shows of each metric; the dict has them all."""
SHOWN_FIRST = (
    "eval/reward_mean",
    "rollout/reward_mean",
    "eval/loss",
    "train/loss",
    "rollout/signal_share",
    "policy/kl_ref",
)
"""Metrics of the text, where two of the runs have them."""

Point = tuple[int, tuple[float | None, ...]]
"""(step, value in each run); None where one did not measure it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between runs; whatever has a value for each has them in the order of the runs."""

    runs: tuple[str, ...]
    """Their folders."""
    names: tuple[str, ...]
    """What people call them."""
    note: str
    """What the difference in results can and cannot be put down to."""
    settings: dict[str, tuple[Any, ...]]
    """Settings that differ: name -> value in each."""
    metrics: dict[str, list[Point]]
    """Metric -> every step where two or more measured it."""
    card: dict[str, tuple[Any, ...]]
    """Summary numbers: name -> value in each, None where not measured."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Tables for a terminal, newest numbers last."""
        lines = [self.note]
        if self.settings:
            lines += ["", *self._table("setting", self.settings)]
        lines += [
            "",
            *self._table("result", {name: values for name, values in self.card.items() if name != "reproduce"}),
        ]
        for name in (name for name in SHOWN_FIRST if name in self.metrics):
            points = _spread(self.metrics[name])
            lines += ["", *self._table(name, {f"step {step}": values for step, values in points})]
        return "\n".join(lines) + "\n"

    def _table(self, title: str, rows: Mapping[str, Sequence[Any]]) -> list[str]:
        """A line per name, a column per run."""
        table = [(title, *self.names), *((name, *map(_shown, values)) for name, values in rows.items())]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return ["  ".join(f"{x:<{width}}" for x, width in zip(row, widths, strict=True)).rstrip() for row in table]


def compare_runs(*runs: RunFolder) -> Comparison:
    """Compare runs as they stand; works on unfinished ones.

    Raises:
        UserError: fewer than two of them, or more than MOST_RUNS.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise UserError("runs", f"{len(runs)} cannot be compared", f"Give 2 to {MOST_RUNS} of them")
    settings, names = differing([_whole(run) for run in runs]), _names(runs)
    versions = [run.state().version for run in runs]
    return Comparison(
        runs=tuple(str(run.path) for run in runs),
        names=names,
        note=_shared(runs, names) + what_it_can_be_put_down_to(settings, versions),
        settings=settings,
        metrics=_side_by_side([run.metrics() for run in runs]),
        card=_cards(runs),
    )


def _whole(run: RunFolder) -> dict[str, Any]:
    """A run's settings; those that its version did not know have their default."""
    fields = KINDS[run.state().kind].model_fields
    return {name: field.default for name, field in fields.items() if not field.is_required()} | run.spec()


def differing(specs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Setting -> its value in each, where they are not all the same; ABSENT where a kind of job has no such setting."""
    names = [name for name in dict.fromkeys(n for spec in specs for n in spec) if name not in NEVER_A_CAUSE]
    values = {name: tuple(spec.get(name, ABSENT) for spec in specs) for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def what_it_can_be_put_down_to(settings: Mapping[str, Any], versions: Sequence[str]) -> str:
    """One line about the difference in results.

    Args:
        settings: those that differ.
        versions: of Tunesmith, one of each run.
    """
    if len(settings) > 1:
        return f"{len(settings)} settings differ, so the difference has no single cause."
    if settings:
        return f"Only {next(iter(settings))} differs: it is the cause, or chance is; repeat both with other seeds."
    if len(set(versions)) > 1:
        return f"The settings agree; the versions differ ({', '.join(versions)})."
    return "The settings agree: on one machine and the same data the numbers should too."


def _names(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """The names of the folders, or where some are alike the paths."""
    names = tuple(run.name for run in runs)
    return names if len(set(names)) == len(names) else tuple(str(run.path) for run in runs)


def _shared(runs: Sequence[RunFolder], names: Sequence[str]) -> str:
    """What forks have in common with the runs that they come from."""
    said = ""
    for (parent, parent_name), (fork, fork_name) in permutations(zip(runs, names, strict=True), 2):
        origin = fork.parent()
        if origin and Path(origin.run).resolve() == parent.path.resolve():
            past = f"share the steps up to {origin.step}" if origin.step else "share no step"
            said += f"{fork_name} is a fork of {parent_name}; they {past}. "
    return said


def _side_by_side(histories: Sequence[History]) -> dict[str, list[Point]]:
    names = sorted({name for history in histories for line in history for name in line} - {"step"})
    shared = {}
    for name in names:
        found = [series(history, name) for history in histories]
        columns = [dict(zip(each.steps, each.values, strict=True)) for each in found]
        steps = sorted({step for column in columns for step in column})
        rows = [(step, tuple(column.get(step) for column in columns)) for step in steps]
        if points := [(step, row) for step, row in rows if sum(value is not None for value in row) > 1]:
            shared[name] = points
    return shared


def _cards(runs: Sequence[RunFolder]) -> dict[str, tuple[Any, ...]]:
    """The numbers of all cards; what none has measured is left out, and so are the lists of findings."""
    cards = [current_card(run) for run in runs]
    names = [name for name in dict.fromkeys(n for card in cards for n in card) if name not in ("run_dir", "findings")]
    values = {name: tuple(card.get(name) for card in cards) for name in names}
    found = {name: each for name, each in values.items() if any(value is not None for value in each)}
    return found | {"findings": tuple(map(_rules, cards))}


def _rules(card: Mapping[str, Any]) -> str:
    return ", ".join(finding["rule"] for finding in card["findings"]) or "none"


def _spread(points: Sequence[Point]) -> list[Point]:
    """At most MOST_STEPS points, evenly spread, the first and the last among them."""
    if len(points) <= MOST_STEPS:
        return list(points)
    last = len(points) - 1
    return [points[round(i * last / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return show_value(value, "number")
    if isinstance(value, list | tuple):
        return " ".join(_shown(item) for item in value) or "none"
    return str(value)
