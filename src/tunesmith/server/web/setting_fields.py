"""Settings as fields of a form: value, default, bounds, and the docstring that says when to change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tunesmith.core.described import descriptions
from tunesmith.core.errors import UserError
from tunesmith.server.web import words
from tunesmith.server.web.draft import ELSEWHERE, Draft
from tunesmith.spec.bounds import MANAGED
from tunesmith.spec.goals import GOALS, with_goal
from tunesmith.spec.load import KINDS

FIRST: Mapping[str, tuple[str, ...]] = {
    "rft": (
        "learning_rate",
        "epochs",
        "lora_rank",
        "response_candidates_count",
        "temperature",
        "max_tokens",
        "chunk_size",
        "batch_size",
        "rl_loss_method",
    ),
    "sft": ("learning_rate", "epochs", "lora_rank", "batch_size_samples", "max_context_length", "eval_every"),
    "dpo": ("learning_rate", "epochs", "lora_rank", "batch_size_samples", "preference_loss", "dpo_beta"),
}
"""Kind -> what most people change; the others are folded away."""


@dataclass(frozen=True, slots=True)
class SettingField:
    """One field."""

    name: str
    value: str
    default: str
    bounds: str
    meaning: str
    choices: tuple[str, ...]
    """Of a setting with few values; empty for a text field."""
    problem: str


@dataclass(frozen=True, slots=True)
class SettingFields:
    """All fields of a kind of job."""

    first: list[SettingField]
    others: list[SettingField]

    @property
    def open(self) -> bool:
        """Whether one that is folded away was changed or is wrong."""
        return any(f.value or f.problem for f in self.others)


@dataclass(frozen=True, slots=True)
class GoalLink:
    """A preset: what it changes, and the address with those changes."""

    name: str
    changes: str
    href: str


def goals_of(draft: Draft) -> list[GoalLink]:
    """The presets that change something of this kind of job, over what was typed before."""
    spec, found = KINDS[draft.kind], []
    for goal in GOALS:
        try:
            changes = with_goal({"goal": goal}, spec)
        except UserError:
            continue
        typed = {name: words.typed(value) for name, value in changes.items()}
        said = ", ".join(f"{name} {value}" for name, value in typed.items())
        found.append(GoalLink(goal.replace("-", " "), said, draft.changed(typed).href("settings")))
    return found


def fields_of(draft: Draft, refused: UserError | None = None) -> SettingFields:
    meanings = descriptions(KINDS[draft.kind])
    made = {
        name: _field(name, info, meanings[name], draft, refused)
        for name, info in KINDS[draft.kind].model_fields.items()
        if name not in ELSEWHERE
    }
    first = [made[name] for name in FIRST[draft.kind]]
    return SettingFields(first, [f for f in made.values() if f not in first])


def _field(name: str, info: FieldInfo, meaning: str, draft: Draft, refused: UserError | None) -> SettingField:
    return SettingField(
        name=name,
        value=draft.settings.get(name, ""),
        default=words.typed(info.default),
        bounds=_bounds(name, info),
        meaning=meaning,
        choices=_choices(info.annotation),
        problem=words.told(refused, with_place=False) if refused is not None and refused.where == name else "",
    )


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _bounds(name: str, info: FieldInfo) -> str:
    """The managed bounds, else those of the type."""
    if name in MANAGED:
        return MANAGED[name].describe()
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "a multiple of"))
    found = [
        f"{sign}\N{NO-BREAK SPACE}{words.typed(value)}"
        for key, sign in signs
        for m in info.metadata
        if (value := getattr(m, key, None)) is not None
    ]
    return ", ".join(found)
