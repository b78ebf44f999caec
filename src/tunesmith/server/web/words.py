"""How numbers, times and states are written on the pages."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from tunesmith.core.errors import UserError
from tunesmith.services.chart import duration as duration
from tunesmith.services.chart import number as number
from tunesmith.services.chart import show_value

KIND_NAMES = {"rft": "RFT", "sft": "SFT", "dpo": "DPO"}
TYPE_NAMES = {"str": "text", "int": "number", "float": "number", "bool": "true, false"}
TONES = {
    "running": "run",
    "queued": "wait",
    "created": "wait",
    "validating": "wait",
    "pausing": "wait",
    "paused": "wait",
    "cancelling": "wait",
    "cancelled": "off",
    "deleting": "off",
    "succeeded": "good",
    "early_stopped": "warn",
    "failed": "bad",
}
"""State of a job -> its colour; the word stands beside it."""


def share(value: float | None) -> str:
    return "—" if value is None else show_value(value, "share")


def count(value: float) -> str:
    """950, 12.3k, 4.56M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def size(num_bytes: float) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes:.0f} B"


def minute(time: str | None) -> str:
    """A time as people read it, UTC."""
    return time[:16].replace("T", " ") if time else "—"


def ago(time: str | None) -> str:
    """How long a time is past."""
    if not time:
        return "—"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    if seconds < 60:
        return "just now"
    for span, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= span:
            return f"{seconds // span:.0f} {name} ago"
    return "just now"


def typed(value: Any) -> str:
    """A setting as one would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(typed, value)) or "none"
    return str(value)


def told(refused: UserError, with_place: bool = True) -> str:
    """A refusal; a mend that is the help of a command is left out, because pages say themselves what is allowed."""
    place = f"{refused.where}: " if with_place else ""
    mend = "" if refused.mend.startswith("See: tunesmith") else f" {refused.mend}"
    return f"{place}{refused.problem}.{mend}"


def squeeze(text: str, most: int) -> str:
    """One line of a text, its end where it is long: that is where prompts differ."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"… {line[-most:]}"


def with_code(text: str) -> Markup:
    """What stands in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def shorten(text: str, most: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else f"{text[:most]} …"


def type_name(name: str) -> str:
    """What to write into the field of an argument of that Python type."""
    return TYPE_NAMES.get(name, name)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "share": share,
    "duration": duration,
    "count_short": count,
    "size": size,
    "minute": minute,
    "ago": ago,
    "typed": typed,
    "squeeze": squeeze,
    "shorten": shorten,
    "with_code": with_code,
    "type_name": type_name,
    "told": told,
    "tone": lambda state: TONES.get(state, "wait"),
    "kind_name": lambda kind: KIND_NAMES[kind],
    "state_name": lambda state: state.replace("_", " "),
}
