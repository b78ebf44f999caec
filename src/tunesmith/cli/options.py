"""Flags from specs: every setting is a flag, its help is the docstring of its field."""

import inspect
from collections.abc import Callable, Collection
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from tunesmith.core.described import descriptions
from tunesmith.spec.base import TrainSpec
from tunesmith.spec.bounds import MANAGED

ALIASES = {"response_candidates_count": ("--n",)}


def with_flags(
    command: Callable[..., None], *specs: type[TrainSpec], only: Collection[str] = (), defaults: bool = True
) -> Callable[..., None]:
    """A command that takes settings of some specs as flags, and hands those that were given to ``command``.

    ``command(settings, **own)`` keeps its own parameters beside ``settings``.

    Args:
        only: names of the settings; without any, all.
        defaults: say what a setting is unless given; not where that is another run's value.
    """
    fields = {name: field for spec in specs for name, field in spec.model_fields.items()}
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
    names = [name for name in fields if name != "kind" and name in (only or fields)]
    meanings = {name: meaning for spec in specs for name, meaning in descriptions(spec).items()}
    flags = [_flag(name, fields[name], meanings[name], defaults) for name in names]

    def run(**given: Any) -> None:
        mine = {p.name: given.pop(p.name) for p in own}
        command({name: value for name, value in given.items() if value not in (None, [])}, **mine)

    run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *flags)}
    run.__doc__ = command.__doc__
    return run


def _flag(name: str, field: FieldInfo, meaning: str, defaults: bool) -> inspect.Parameter:
    long = f"--{name.replace('_', '-')}"
    is_switch, is_list = _allows(field, bool), _allows(field, list)
    names = (f"{long}/--no-{name.replace('_', '-')}",) if is_switch else (long, *ALIASES.get(name, ()))
    kind: Any = bool if is_switch else list[str] if is_list else str
    option = typer.Option(
        *names, help=_help(name, field, meaning, defaults), metavar=None if is_switch else _metavar(field)
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(name: str, field: FieldInfo, meaning: str, defaults: bool) -> str:
    notes = []
    if defaults and not field.is_required() and field.default not in (None, []):
        notes.append(f"default {field.default}")
    if name in MANAGED:
        notes.append(f"managed: {MANAGED[name].describe()}")
    return f"{meaning} [{'; '.join(notes)}]" if notes else meaning


def _metavar(field: FieldInfo) -> str:
    if choices := _choices(field.annotation):
        return "|".join(choices)
    return next((word for kind, word in ((float, "NUMBER"), (int, "N")) if _allows(field, kind)), "TEXT")


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _allows(field: FieldInfo, kind: type) -> bool:
    """Whether a field's annotation is kind, or a union with it."""
    annotation = field.annotation
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return any((get_origin(m) or m) is kind or (get_origin(m) is Annotated and get_args(m)[0] is kind) for m in members)
