"""Evaluations: how good a model's answers are."""

from typing import Any

from tunesmith.server.dialects.tunesmith.answers.base import Answer
from tunesmith.server.dialects.tunesmith.answers.jobs import Progress


class Score(Answer):
    """How good the answers are."""

    reward_mean: float
    """Mean over rows of the mean over their answers."""
    reward_ci95: tuple[float, float] | None
    """95% interval of that mean; null for fewer than two rows."""
    rows: int
    """With at least one answer that was graded."""
    attempts: int
    """Answers, those whose grading failed included."""
    failed_share: float
    """Of the answers: those whose grading failed."""
    histogram: list[tuple[float, float, int]]
    """From, to and number of answers, for equal spans of the reward."""


class EvaluationSummary(Answer):
    """An evaluation in a list."""

    id: str
    name: str
    display_name: str
    state: str
    """As a job's."""
    reason: str
    """Why it is in this state; empty where there is nothing to say."""
    dataset: str
    evaluator: str | list[str]
    model: str | None
    """Whose answers are graded; null where the rows hold them."""
    output_dataset: str
    """Id of the dataset that it leaves: a line for each answer."""
    score: Score | None
    """Null before its end."""
    created_at: str
    updated_at: str
    started_at: str | None
    ended_at: str | None


class Evaluation(EvaluationSummary):
    """An evaluation as it stands; one that runs has the score of what is graded so far."""

    settings: dict[str, Any]
    """Those that were given."""
    starts: int
    """How often a worker was started for it."""
    progress: Progress
    """A step is a batch of rows."""
    page: str
    """Path of its web page."""
