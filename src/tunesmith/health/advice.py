"""One proposed change of one setting, as ``name: old -> new``, inside the bounds the job runs under."""

from collections.abc import Callable
from typing import Any

from tunesmith.health.history import Settings
from tunesmith.spec.bounds import check


def propose(settings: Settings, name: str, change: Callable[[Any], Any], otherwise: str) -> str:
    """``name: old -> new`` with new = change(old); ``otherwise`` when the setting is unknown or at its bound."""
    old = settings.get(name)
    if old is None:
        return otherwise
    new = change(old)
    refused, _ = check({name: new}, settings.get("limits", "managed"))
    return otherwise if refused or new == old else f"{name}: {show(old)} -> {show(new)}"


def show(value: Any) -> str:
    """A setting as one would type it: 5e-5, 0.7, 4096, false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:.0e}" if 0 < abs(value) < 1e-3 and float(f"{value:.0e}") == value else f"{value:.4g}"
        return text.replace("e-0", "e-").replace("e+0", "e+")
    return str(value)
