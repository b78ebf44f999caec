"""Jobs, and what each says while it runs."""

from typing import Any

from tunesmith.server.dialects.tunesmith.answers.base import Answer


class Progress(Answer):
    """How far a job is."""

    percent: int
    """0 to 100 of the planned steps."""
    step: int
    """Last finished step; 0 before the first."""
    num_steps: int
    """Steps planned; 0 while unknown."""
    epoch: int
    """Passes over the dataset that are complete."""
    eta_s: float | None
    """Seconds of work left; null while unknown and at the end."""


class Origin(Answer):
    """Where a fork comes from."""

    job: str
    """Id of the job that it is a fork of, which may have been deleted."""
    step: int
    """Last step that both have; 0 where they share the settings alone."""
    changed: dict[str, list[Any]]
    """Setting to its value there and its value here."""


class Fork(Answer):
    """A job that shares the past of another."""

    id: str
    name: str
    state: str
    step: int
    """Last step that both have; 0 where they share the settings alone."""
    changed: dict[str, list[Any]]
    """Setting to its value there and its value here."""


class JobSummary(Answer):
    """A job in a list."""

    id: str
    kind: str
    """rft, sft or dpo."""
    name: str
    display_name: str
    state: str
    """See the states of a job."""
    reason: str
    """Why it is in this state; empty where there is nothing to say."""
    dataset: str
    evaluation_dataset: str | None
    output_model: str
    """Name of what comes out."""
    settings: dict[str, Any]
    """Those that were given; `/spec` has all of them."""
    created_at: str
    updated_at: str
    started_at: str | None
    ended_at: str | None
    starts: int
    """How often a worker was started for it."""
    origin: Origin | None
    """Of a fork; null for a job that began by itself."""


class Job(JobSummary):
    """A job as it stands."""

    progress: Progress
    metrics: dict[str, float] | None
    """Of the last finished step; null before the first."""
    model: str | None
    """Name of the model that it made; null before, and once that was removed."""
    page: str
    """Path of its web page."""
    forks: list[Fork]
    """Its own, oldest first."""


class Event(Answer):
    """Something that happened to a job."""

    number: int
    """Rises; not from 1."""
    at: str
    kind: str
    """move, note or finding."""
    level: str
    """info, warning or error."""
    from_state: str
    to_state: str
    text: str


class Events(Answer):
    """Oldest first."""

    items: list[Event]
    next_after: int
    """Ask for those after this number next."""


class Log(Answer):
    """Complete lines of a job's log."""

    text: str
    next_offset: int
    """Byte to ask for next."""


class Metrics(Answer):
    """A dict per finished step, each with "step"; step 0 is the evaluation before training."""

    items: list[dict[str, float | None]]


class Finding(Answer):
    """What a health rule says of a run."""

    rule: str
    level: str
    step: int
    saw: str
    advice: str


class Findings(Answer):
    items: list[Finding]


class RolloutSteps(Answer):
    """Steps whose rollouts are kept."""

    step: list[int]
    """Of training."""
    eval: list[int]
    """Of evaluations."""


class GradedAnswer(Answer):
    """One answer and what the grader said of it."""

    prompt_id: str
    candidate: int
    """Which of the answers to the prompt."""
    prompt_text: str
    text: str
    reward: float | None
    """Null where grading failed."""
    parts: dict[str, Any]
    """Parts of the reward by name."""
    reason: str
    error: str | None
    """Why grading failed; null where it did not."""
    stop: str


class Rollout(GradedAnswer):
    """One attempt."""

    advantage: float | None
    trained: bool
    dropped: str
    """Why it was not trained on; empty if it was."""
    version: int
