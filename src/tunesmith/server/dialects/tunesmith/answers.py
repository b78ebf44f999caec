"""What our own wire answers. Times are UTC in RFC 3339; a number that is not one (NaN) is null."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Made from what the services show."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """Some of a list."""

    items: list[Item]
    total: int
    """How many there are in all."""
    next_offset: int | None
    """Offset of the next page; null on the last one."""


def page(items: list[Any], total: int, offset: int) -> dict[str, Any]:
    """The fields of a page."""
    seen = offset + len(items)
    return {"items": items, "total": total, "next_offset": seen if items and seen < total else None}


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


class Findings(Answer):
    items: list[Finding]


class RolloutSteps(Answer):
    """Steps whose rollouts are kept."""

    step: list[int]
    """Of training."""
    eval: list[int]
    """Of evaluations."""


class Rollout(Answer):
    """One attempt."""

    prompt_id: str
    candidate: int
    prompt_text: str
    text: str
    reward: float | None
    """Null where grading failed."""
    parts: dict[str, Any]
    """Parts of the reward by name."""
    reason: str
    error: str | None
    """Why grading failed; null where it did not."""
    advantage: float | None
    trained: bool
    dropped: str
    """Why it was not trained on; empty if it was."""
    stop: str
    version: int


class Verdict(Answer):
    """What a check of every line found."""

    rows: int
    num_problems: int
    problems: list[str]
    """The first 1,000, each with line, field, what stands there and the mend."""
    whole_file: bool
    """Leaving out bad lines would not mend it."""
    refusal: str
    """Empty when nothing is wrong."""
    mend: str
    notes: list[str]


class Dataset(Answer):
    """A dataset as it stands."""

    id: str
    display_name: str
    kind: str
    """rft, sft, dpo, or empty while only jobs say what it is for."""
    state: str
    """UPLOADING, READY or FAILED."""
    num_bytes: int
    verdict: Verdict | None
    """Of the check that made it READY or FAILED; null before."""
    created_at: str
    updated_at: str


class PreviewPart(Answer):
    """Text that is trained alike."""

    text: str
    weight: float
    """0 is read by the model but not trained."""


class PreviewRow(Answer):
    """A conversation as the model reads it."""

    line: int
    """1-based line of the file."""
    label: str
    """Of a pair: preferred or not preferred; else empty."""
    num_tokens: int
    parts: list[PreviewPart]
    graded: str
    """Of a prompt: what else the row holds, for its grader, as JSON; else empty."""


class Preview(Answer):
    items: list[PreviewRow]
    notes: list[str]


class Model(Answer):
    """A base model, which everybody has, or a tuned model of the key's owner."""

    name: str
    base_model: str | None
    """Null for a base model."""
    whole: bool
    """Whether it is a model of its own, not an adapter."""
    job_id: str
    """The job that made it; empty where none did."""
    created_at: str | None
    max_context: int
    """Tokens."""
    card: dict[str, Any] | None
    """What the job that made it proved, as `card.json` has it; null where no job did."""


class Key(Answer):
    """What may be shown of a key."""

    id: str
    name: str
    prefix: str
    """Its first characters."""
    created_at: str
    last_used_at: str | None
    revoked_at: str | None
    scope: str
    expires_at: str | None


class NewKey(Key):
    key: str
    """In plain text, this once."""


class Evaluator(Answer):
    """An uploaded evaluator; a job names it as `uploaded:<id>`."""

    id: str
    display_name: str
    entry_point: str
    state: str
    """BUILDING, ACTIVE or BUILD_FAILED."""
    reason: str
    """Why the build failed."""
    traits: dict[str, Any]
    """What the build found out about it."""
    created_at: str
    updated_at: str


class Secret(Answer):
    """The name of a secret; its value is never shown again."""

    name: str
    created_at: str
    updated_at: str


class Secrets(Answer):
    items: list[Secret]


class Deployment(Answer):
    """A name under which the server answers for a model."""

    id: str
    name: str
    """What inference takes as `model`."""
    model: str
    """Base or tuned model that it serves."""
    base_model: str
    loaded: list[str]
    """Tuned models that it serves too."""
    default: str
    """The model that its own name means."""
    replicas: int
    """0: the name is closed."""
    created_at: str
    updated_at: str
