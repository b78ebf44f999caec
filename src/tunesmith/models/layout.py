"""How sequences lie in a pack: for every family its shared prefix, then each member's own suffix, end to end."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Sequences that begin alike. A sequence of its own has prefix 0 and one suffix."""

    start: int
    """First packed row."""
    prefix: int
    """Shared tokens; their rows come first."""
    suffixes: tuple[int, ...]
    """Own tokens of each member, at least 1."""
