"""Gates: numbers of a finished run held against bounds, groups of rows included, for a pipeline to go on or stop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError, model_validator

from tunesmith.core.described import Described
from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.health.history import series
from tunesmith.services.card import current_card
from tunesmith.services.run_folder import RunFolder

CARD = "card/"
"""Prefix of the card's numbers among metrics."""
BY_GROUP = {
    "eval/reward_mean": "reward",
    "eval/truncated_share": "stop",
}
"""Metrics that can be taken for each group of held-out rows, and the column that they rest on."""


class Gate(Described):
    """One bound. With ``by`` it holds for every group of rows with the same value in that field."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    """A metric of the run, its newest value; or `card/` and a number of the card."""
    at_least: float | None = None
    """Lowest value that passes."""
    at_most: float | None = None
    """Highest value that passes."""
    by: str | None = None
    """Field of the held-out rows whose values make groups."""
    gap_at_most: float | None = None
    """Largest difference between two groups that passes."""

    @model_validator(mode="after")
    def _says_something(self) -> "Gate":
        if self.at_least is None and self.at_most is None and self.gap_at_most is None:
            raise ValueError("a gate needs at_least, at_most or gap_at_most")
        if self.gap_at_most is not None and self.by is None:
            raise ValueError("gap_at_most compares groups: give by")
        return self


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound and what the run has."""

    gate: str
    """In words: ``eval/reward_mean >= 0.8``."""
    value: float
    passed: bool


def read_gates(file: Path) -> list[Gate]:
    """The gates of a YAML file: a list under `gates`.

    Raises:
        NotFound: no such file.
        UserError: names the gate and what is wrong with it.
    """
    if not file.is_file():
        raise NotFound(str(file), "no such file of gates", "Give a YAML file with a list under gates")
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(str(file), f"cannot be read: {' '.join(str(e).split())}", "Mend the file's syntax") from None
    if not isinstance(found, dict) or set(found) != {"gates"} or not isinstance(found["gates"], list):
        raise UserError(str(file), "is no file of gates", "Write one key, gates, with a list of {metric, at_least, …}")
    gates = []
    for number, given in enumerate(found["gates"], start=1):
        try:
            gates.append(Gate.model_validate(given))
        except ValidationError as e:
            first = e.errors()[0]
            place = ".".join([str(file), f"gates[{number}]", *map(str, first["loc"])])
            names = ", ".join(Gate.model_fields)
            raise UserError(place, first["msg"].removeprefix("Value error, "), f"A gate has: {names}") from None
    return gates


def judge(run: RunFolder, gates: list[Gate]) -> list[Verdict]:
    """Every bound of every gate, in order.

    Raises:
        UserError: a metric that the run has not.
        NotFound: a field that no held-out row has, or no evaluation.
    """
    return [verdict for gate in gates for verdict in _verdicts(run, gate)]


def _verdicts(run: RunFolder, gate: Gate) -> list[Verdict]:
    values = {"": _newest(run, gate.metric)} if gate.by is None else _groups(run, gate.metric, gate.by)
    found = []
    for group, value in values.items():
        name = f"{gate.metric} where {gate.by} is {group}" if gate.by else gate.metric
        if gate.at_least is not None:
            found.append(Verdict(f"{name} >= {gate.at_least:g}", value, value >= gate.at_least))
        if gate.at_most is not None:
            found.append(Verdict(f"{name} <= {gate.at_most:g}", value, value <= gate.at_most))
    if gate.gap_at_most is not None:
        gap = max(values.values()) - min(values.values())
        name = f"gap of {gate.metric} by {gate.by}"
        found.append(Verdict(f"{name} <= {gate.gap_at_most:g}", gap, gap <= gate.gap_at_most + 1e-12))
    return found


def _newest(run: RunFolder, metric: str) -> float:
    if metric.startswith(CARD):
        known = {f"{CARD}{n}": float(v) for n, v in current_card(run).items() if isinstance(v, int | float)}
    else:
        history = run.metrics()
        known = {name: series(history, name).values[-1] for line in history for name in line if name != "step"}
    if metric not in known:
        raise unknown("metric", metric, known)
    return known[metric]


def _groups(run: RunFolder, metric: str, field: str) -> dict[str, float]:
    """Value of the field -> the metric over its rows, in the newest evaluation."""
    if metric not in BY_GROUP:
        raise unknown("metric", metric, BY_GROUP)
    steps = run.rollout_steps("eval")
    if not steps:
        raise NotFound(str(run.path), "has no held-out attempts", "Groups are taken from evaluations of rft runs")
    column = BY_GROUP[metric]
    found: dict[str, list[float]] = {}
    for attempt in run.read_rollouts("eval", steps[-1], ["row", column]):
        if field in attempt["row"] and attempt[column] is not None:
            found.setdefault(str(attempt["row"][field]), []).append(_number(attempt, column))
    if not found:
        raise NotFound(field, "no held-out row has this field", "Name a field of the rows of the evaluation dataset")
    return {group: fmean(values) for group, values in sorted(found.items())}


def _number(attempt: Mapping[str, Any], column: str) -> float:
    return float(attempt["stop"] == "length") if column == "stop" else float(attempt["reward"])
