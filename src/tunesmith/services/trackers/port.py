"""What a tracker is told: the socket that every one of them fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.core.types import Finding, Metrics


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a run when reporting begins."""

    folder: Path
    """The run folder."""
    name: str
    project: str
    entity: str | None
    """Team or user, where the tracker has them."""
    settings: Mapping[str, Any]
    """All of them, defaults too."""
    began: float
    """When the run was first running, in seconds since 1970."""
    known_as: str | None
    """What ``Tracker.open`` answered when the run was reported before; None the first time."""

    @property
    def local(self) -> Path:
        """Where a tracker that keeps files may keep them."""
        return self.folder / "trackers"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, or stopped."""

    state: str
    """A run's state, or STOPPED for one that will go on."""
    reason: str
    at: float
    """When, in seconds since 1970."""
    card: Mapping[str, Any]
    """Empty unless it came to its end."""
    result: Path | None
    """Folder of the adapter or model."""
    report: Path | None
    """The HTML report."""

    @property
    def good(self) -> bool:
        return self.state in ("COMPLETED", "EARLY_STOPPED")


class Tracker(Protocol):
    """One experiment tracker. Whatever it raises ends the reporting, never the run."""

    def open(self, about: About) -> str:
        """Begin, or go on with, a run; returns what it is known as there."""
        ...

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        """The numbers of a finished step; ``at`` is when it was done, to about a second, in seconds since 1970."""
        ...

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Some attempts of a step: prompt, text, reward, advantage and more; every row has the same columns."""
        ...

    def finding(self, finding: Finding) -> None:
        """A finding that was not there before."""
        ...

    def close(self, ending: Ending) -> None:
        """The run ended or stopped; everything has to be written when this returns."""
        ...
