"""Datasets, what a check of them found, and how a model reads them."""

from tunesmith.server.dialects.tunesmith.answers.base import Answer


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
