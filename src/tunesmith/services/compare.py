"""Two runs side by side: the settings that differ, the metrics at the steps both have, and the final cards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.health.history import History, series
from tunesmith.services.card import current_card
from tunesmith.services.chart import show_value
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec.load import KINDS

ABSENT = "absent"
"""Stands for a setting that a run of this kind does not have."""
NEVER_A_CAUSE = frozenset({"output_dir"})
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
"""Metrics of the text, where both runs have them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between run a and run b."""

    a: str
    b: str
    """Their folders."""
    names: tuple[str, str]
    """What people call them."""
    note: str
    """What the difference in results can and cannot be put down to."""
    settings: dict[str, tuple[Any, Any]]
    """Settings that differ: name -> (a, b)."""
    metrics: dict[str, list[tuple[int, float, float]]]
    """Metric -> (step, a, b) at every step where both runs measured it."""
    card: dict[str, tuple[Any, Any]]
    """Summary numbers: name -> (a, b), None where not measured."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Tables for a terminal, newest numbers last."""
        lines = [self.note]
        if self.settings:
            lines += ["", *self._table("setting", self.settings)]
        lines += ["", *self._table("result", self.card)]
        for name in (name for name in SHOWN_FIRST if name in self.metrics):
            points = _spread(self.metrics[name])
            lines += ["", *self._table(name, {f"step {step}": (x, y) for step, x, y in points})]
        return "\n".join(lines) + "\n"

    def _table(self, title: str, pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
        """A line per name, a column per run."""
        table = [(title, *self.names), *((name, _shown(x), _shown(y)) for name, (x, y) in pairs.items())]
        widths = [max(len(row[column]) for row in table) for column in (0, 1)]
        return [f"{name:<{widths[0]}}  {x:<{widths[1]}}  {y}".rstrip() for name, x, y in table]


def compare_runs(a: RunFolder, b: RunFolder) -> Comparison:
    """Compare two runs as they stand; works on unfinished ones."""
    settings, names = _differing(_whole(a), _whole(b)), _names(a, b)
    return Comparison(
        a=str(a.path),
        b=str(b.path),
        names=names,
        note=_shared(a, b, names) + what_it_can_be_put_down_to(settings, (a.state().version, b.state().version)),
        settings=settings,
        metrics=_side_by_side(a.metrics(), b.metrics()),
        card=_cards(a, b),
    )


def _whole(run: RunFolder) -> dict[str, Any]:
    """A run's settings; those that its version did not know have their default."""
    fields = KINDS[run.state().kind].model_fields
    return {name: field.default for name, field in fields.items() if not field.is_required()} | run.spec()


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in dict.fromkeys([*a, *b]) if name not in NEVER_A_CAUSE]
    pairs = {name: (a.get(name, ABSENT), b.get(name, ABSENT)) for name in names}
    return {name: (x, y) for name, (x, y) in pairs.items() if x != y}


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


def _names(a: RunFolder, b: RunFolder) -> tuple[str, str]:
    """The names of the folders, or where these are alike the paths."""
    return (a.name, b.name) if a.name != b.name else (str(a.path), str(b.path))


def _shared(a: RunFolder, b: RunFolder, names: tuple[str, str]) -> str:
    """What a fork has in common with the run it comes from."""
    for one, other, (parent, fork) in ((a, b, names), (b, a, names[::-1])):
        origin = other.parent()
        if origin and Path(origin.run).resolve() == one.path.resolve():
            past = f"share the steps up to {origin.step}" if origin.step else "share no step"
            return f"{fork} is a fork of {parent}; they {past}. "
    return ""


def _side_by_side(a: History, b: History) -> dict[str, list[tuple[int, float, float]]]:
    names = sorted({name for line in a for name in line} & {name for line in b for name in line} - {"step"})
    both = {}
    for name in names:
        one, other = series(a, name), series(b, name)
        values = dict(zip(other.steps, other.values, strict=True))
        points = [(s, v, values[s]) for s, v in zip(one.steps, one.values, strict=True) if s in values]
        if points:
            both[name] = points
    return both


def _cards(a: RunFolder, b: RunFolder) -> dict[str, tuple[Any, Any]]:
    """The numbers of both cards; what neither has measured is left out, and so are the lists of findings."""
    one, other = current_card(a), current_card(b)
    names = [name for name in dict.fromkeys([*one, *other]) if name not in ("run_dir", "findings")]
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    found = {name: pair for name, pair in pairs.items() if pair != (None, None)}
    return found | {"findings": (_rules(one), _rules(other))}


def _rules(card: Mapping[str, Any]) -> str:
    return ", ".join(finding["rule"] for finding in card["findings"]) or "none"


def _spread(points: Sequence[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
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
