"""Presets by goal: a row of settings to change from their defaults. What a user gives beside a goal wins over it."""

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.core.errors import UserError, unknown
from tunesmith.spec.base import TrainSpec

GOALS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "faster-convergence": {"epochs": lambda n: n + 1},
    "better-quality": {
        "temperature": lambda _: 1.0,
        "response_candidates_count": lambda n: max(n, 8),
        "max_tokens": lambda n: 2 * n,
        "epochs": lambda n: n + 1,
    },
    "safer": {"temperature": lambda _: 0.4, "top_p": lambda _: 0.5, "top_k": lambda _: 20},
    "more-creative": {"temperature": lambda _: 1.1, "top_p": lambda _: 0.9},
    "lower-cost": {
        "response_candidates_count": lambda _: 4,
        "max_tokens": lambda n: n // 2,
        "batch_size": lambda n: n // 2,
        "batch_size_samples": lambda n: max(1, n // 2),
    },
    "higher-capacity": {"lora_rank": lambda rank: 16 if rank < 16 else 32},
    "prevent-overfitting": {"epochs": lambda _: 1, "lora_rank": lambda _: 4},
}
"""Goal -> setting -> its value from the default. A kind of job takes the settings that it has."""


def with_goal(settings: Mapping[str, Any], spec: type[TrainSpec]) -> dict[str, Any]:
    """The settings with ``goal`` replaced by what it stands for.

    Raises:
        UserError: an unknown goal, or one that changes nothing here.
    """
    given = dict(settings)
    goal = given.pop("goal", None)
    if goal is None:
        return given
    if goal not in GOALS:
        raise unknown("goal", str(goal), GOALS)
    kind = spec.model_fields["kind"].default
    row = {
        name: change(spec.model_fields[name].default)
        for name, change in GOALS[goal].items()
        if name in spec.model_fields
    }
    changed = {name: value for name, value in row.items() if name not in given}
    if not row:
        raise UserError("goal", f"{goal} changes no setting of {kind} jobs", "Leave it out, or choose another goal")
    if not changed:
        raise UserError("goal", f"{goal} changes {', '.join(row)}, which you gave", "Leave out one or the other")
    return changed | given
