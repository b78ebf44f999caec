"""Proposed changes as data: one setting, its old and its new value inside the job's bounds, and what should happen."""

from collections.abc import Callable
from typing import Any

from tunesmith.core.types import Change, Finding, Level
from tunesmith.health.history import History, Settings
from tunesmith.spec.bounds import check
from tunesmith.spec.rft import MAKING_ATTEMPTS, is_recorded

Option = tuple[str, Callable[[Any], Any]]
"""(setting, its new value from its old one)."""


def propose(settings: Settings, expect: str, *options: Option, by_hand: tuple[str, str]) -> Change:
    """The first option that changes a known setting within its bounds; else what a person has to do.

    Args:
        expect: what should happen then.
        by_hand: (setting, what to do with it), for when no option is left or the settings are not known.
    """
    for name, change in options:
        old = settings.get(name)
        if old is None or (name in MAKING_ATTEMPTS and is_recorded(settings.get("evaluator"))):
            continue
        new = tidy(change(old))
        refused, _ = check({name: new}, settings.get("limits", "managed"))
        if not refused and new != old:
            return Change(name, old, new, expect)
    name, words = by_hand
    return Change(name, settings.get(name), words, expect, by_hand=True)


def finding(rule: str, level: Level, history: History, saw: str, change: Change) -> Finding:
    """A finding at the newest step."""
    return Finding(rule, level, int(history[-1]["step"]), saw, words(change), change)


def words(change: Change) -> str:
    """``setting: old -> new: what should happen.``"""
    value = str(change.new) if change.by_hand else f"{show(change.old)} -> {show(change.new)}"
    return f"{change.setting}: {value}: {change.expect}."


def slower(settings: Settings, expect: str) -> Change:
    """Half the learning rate."""
    return propose(settings, expect, ("learning_rate", half), by_hand=("learning_rate", "lower it"))


def warmer(settings: Settings, expect: str) -> Change:
    """A temperature higher by 0.3, up to 1.2, above which texts fall apart."""
    options = [("temperature", lambda t: round(min(t + 0.3, 1.2), 2) if t < 1.2 else t)]
    return propose(settings, expect, *options, by_hand=("evaluator", "let it give partial credit"))


def double(value: Any) -> Any:
    return 2 * value


def half(value: float) -> float:
    return value / 2


def half_whole(value: int) -> int:
    return max(1, value // 2)


def tidy(value: Any) -> Any:
    """A number without the digits that only arithmetic gave it: three times 1e-4 is 3e-4."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def show(value: Any) -> str:
    """A setting as one would type it: 5e-5, 0.7, 4096, false, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:.0e}" if 0 < abs(value) < 1e-3 and float(f"{value:.0e}") == value else f"{value:.4g}"
        return text.replace("e-0", "e-").replace("e+0", "e+")
    return str(value)
