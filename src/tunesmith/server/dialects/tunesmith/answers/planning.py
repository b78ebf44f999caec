"""What is told before and instead of a job: plans, errands, advice."""

from typing import Any

from tunesmith.server.dialects.tunesmith.answers.base import Answer
from tunesmith.server.dialects.tunesmith.answers.jobs import Finding


class Errand(Answer):
    """Something that the server computes in a process of its own."""

    id: str
    """To ask for the answer with."""
    what: str
    """plan, try or regrade."""
    state: str
    """waiting, running, done or failed."""
    answer: dict[str, Any] | None
    """Of one that is done: of a plan its steps, rollouts_per_step, optimizer_updates, tokens, peak_memory_bytes and
    seconds; of a regrading what [the command](cli.md#regrade) tells."""
    problem: str
    """Of one that failed."""


class Plan(Answer):
    """What a job would be; nothing was queued."""

    kind: str
    spec: dict[str, Any]
    """All settings with their defaults."""
    origins: dict[str, str]
    """Setting to `given`, `goal` or `default`."""
    warnings: list[str]
    rows: int
    """Usable rows of the dataset."""
    held_out: int
    """Of those, rows that are set aside for evaluations."""
    steps: int | None
    """Steps of an rft job; null where only the model's tokens tell."""
    rollouts: int | None
    """Attempts of all steps of an rft job, evaluations aside."""
    rehearsal: Errand | None
    """What a few real steps say of time and memory; null where it was not asked for."""


class Change(Answer):
    """One setting to change."""

    setting: str
    old: Any
    new: Any
    expect: str
    """What should happen."""
    by_hand: bool
    """Only a person can make it: a grader to mend, rows to add."""


class Advice(Answer):
    """What to do about a run."""

    findings: list[Finding]
    """Gravest first; of one level, causes before what they cause."""
    change: Change | None
    """The one thing to try next; null where nothing was found, or only a person can act."""
    fork_at: int | None
    """The step where a fork with that change would begin."""
