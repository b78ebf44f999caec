"""How far a job is, read from its run folder."""

from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from tunesmith.services.run_folder import RunFolder

RECENT = 5
"""Steps that the time of the next ones is guessed from."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    percent: int
    """0 to 100 of the planned steps."""
    step: int
    """Last finished step, 1-based; 0 before the first."""
    num_steps: int
    """0 while unknown."""
    epoch: int
    """Passes over the dataset that are complete."""
    eta_s: float | None
    """Seconds of work left, by the latest steps; None while unknown and once nothing is left."""


BEFORE = Progress(0, 0, 0, 0, None)


def progress_of(run: RunFolder, epochs: int) -> Progress:
    """Where a run stands. A run that stopped early has fewer steps than it planned."""
    if not (run.path / "state.json").is_file():
        return BEFORE
    state = run.state()
    if not state.num_steps:
        return BEFORE
    done = state.step / state.num_steps
    left = 0 if state.ended_at else state.num_steps - state.step
    took = [_seconds(line) for line in islice(run.newest_timing(), RECENT) if line["step"] > 0]
    eta_s = left * fmean(took) if left and took else None
    return Progress(int(100 * done), state.step, state.num_steps, int(done * epochs), eta_s)


def _seconds(timing: dict[str, float]) -> float:
    return sum(value for name, value in timing.items() if name.startswith("time/"))
