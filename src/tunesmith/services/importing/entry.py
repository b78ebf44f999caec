"""What became of one key of a foreign configuration, and the few ways in which a rule can decide it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["kept", "translated", "different", "refused"]
Flat = Mapping[str, Any]
"""A whole configuration, nested keys joined by dots."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rule's decision."""

    verdict: Verdict
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of ours that it sets."""
    note: str = ""
    """How it was translated, what changes, or why it is refused and what to do."""


Rule = Callable[[Any, Flat], Outcome]
"""(value, whole configuration) -> what becomes of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the report."""

    key: str
    value: Any
    outcome: Outcome
    default: bool = False
    """The file does not say it: it is what the other tool would have used."""


def keep(setting: str) -> Rule:
    """The same meaning under our name."""
    return lambda value, _: Outcome("kept", {setting: value})


def translate(setting: str, note: str, convert: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The same meaning in other words."""
    return lambda value, _: Outcome("translated", {setting: convert(value)}, note)


def differ(note: str, setting: str | None = None) -> Rule:
    """It is done here too, or set here too, with a difference."""
    return lambda value, _: Outcome("different", {} if setting is None else {setting: value}, note)


def refuse(why: str) -> Rule:
    return lambda _value, _: Outcome("refused", {}, why)


def only(allowed: Collection[Any], why: str, note: str = "as it is here") -> Rule:
    """One of the values is what happens here anyway; another is refused."""
    return lambda value, _: Outcome("kept", {}, note) if value in allowed else Outcome("refused", {}, why)


def off(why: str) -> Rule:
    """Something that is not there here: fine while it is switched off."""
    return only((None, False, 0, "", "no", "none"), why, "off, and not there here")


def unless_none(rule: Rule) -> Rule:
    """None is the tool's way of not saying."""
    return lambda value, flat: Outcome("kept", {}, "not set") if value is None else rule(value, flat)
