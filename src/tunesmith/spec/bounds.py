"""The managed bounds: what a hosted service would allow, and what ``limits`` makes of a value outside them."""

from dataclasses import dataclass
from typing import Any, Literal

Limits = Literal["managed", "extended", "off"]


@dataclass(frozen=True, slots=True)
class Bound:
    """Allowed values of one setting: a closed range, or a few choices."""

    low: float | None = None
    high: float | None = None
    choices: tuple[int, ...] = ()
    extended: tuple[int, ...] = ()
    """Further choices under ``limits: extended``, each with a memory warning."""

    def problem(self, value: float, limits: Limits) -> str | None:
        """What is wrong with value, or None."""
        if self.choices:
            allowed = self.choices + (self.extended if limits == "extended" else ())
            return None if value in allowed else f"must be one of {', '.join(map(str, allowed))}"
        below = self.low is not None and value < self.low
        above = self.high is not None and value > self.high
        return f"outside valid range [{_plain(self.low)}, {_plain(self.high)}]" if below or above else None

    def describe(self) -> str:
        """The bound as docs and help show it."""
        if self.choices:
            more = f"; extended also {', '.join(map(str, self.extended))}" if self.extended else ""
            return ", ".join(map(str, self.choices)) + more
        if self.high is None:
            return f">= {_plain(self.low)}"
        return f"{_plain(self.low)} ... {_plain(self.high)}"


MANAGED: dict[str, Bound] = {
    "learning_rate": Bound(1e-5, 5e-4),
    "epochs": Bound(1, 10),
    "lora_rank": Bound(choices=(0, 4, 8, 16, 32), extended=(64, 128)),
    "temperature": Bound(0.1, 2.0),
    "temperature_end": Bound(0.1, 2.0),
    "top_k": Bound(0, 100),
    "max_tokens": Bound(16, 16384),
}


def check(settings: dict[str, Any], limits: Limits) -> tuple[list[str], list[str]]:
    """Hold settings against the managed bounds; returns (refusals, warnings), each naming the setting and its value."""
    refusals, warnings = [], []
    for name, bound in MANAGED.items():
        value = settings.get(name)
        if value is None:
            continue
        problem = bound.problem(value, limits)
        if problem and limits == "off":
            warnings.append(f"{name}: {problem} (got {_plain(value)}); going on because limits is off")
        elif problem:
            refusals.append(f"{name}: {problem} (got {_plain(value)})")
        elif value in bound.extended:
            warnings.append(f"{name}: {value} needs more memory than a managed rank; watch the peak in the plan")
    return refusals, warnings


def _plain(value: float | None) -> str:
    """1e-5, not 1e-05; 5, not 5.0."""
    if value is None:
        return "inf"
    if not 0 < abs(value) < 1e-2:
        return f"{value:g}"
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
