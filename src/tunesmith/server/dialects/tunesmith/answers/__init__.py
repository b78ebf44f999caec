"""What our own wire answers. Times are UTC in RFC 3339; a number that is not one (NaN) is null."""

from tunesmith.server.dialects.tunesmith.answers.accounts import (
    Deployment,
    Evaluator,
    Key,
    Model,
    NewKey,
    Secret,
    Secrets,
)
from tunesmith.server.dialects.tunesmith.answers.base import Answer, Page, page
from tunesmith.server.dialects.tunesmith.answers.datasets import Dataset, Preview, PreviewPart, PreviewRow, Verdict
from tunesmith.server.dialects.tunesmith.answers.evaluations import Evaluation, EvaluationSummary, GradedAnswer, Score
from tunesmith.server.dialects.tunesmith.answers.jobs import (
    Event,
    Events,
    Finding,
    Findings,
    Fork,
    Job,
    JobSummary,
    Log,
    Metrics,
    Origin,
    Progress,
    Rollout,
    RolloutSteps,
)
from tunesmith.server.dialects.tunesmith.answers.planning import Advice, Change, Errand, Plan

__all__ = [
    "Advice",
    "Answer",
    "Change",
    "Dataset",
    "Deployment",
    "Errand",
    "Evaluation",
    "EvaluationSummary",
    "Evaluator",
    "Event",
    "Events",
    "Finding",
    "Findings",
    "Fork",
    "GradedAnswer",
    "Job",
    "JobSummary",
    "Key",
    "Log",
    "Metrics",
    "Model",
    "NewKey",
    "Origin",
    "Page",
    "Plan",
    "Preview",
    "PreviewPart",
    "PreviewRow",
    "Progress",
    "Rollout",
    "RolloutSteps",
    "Score",
    "Secret",
    "Secrets",
    "Verdict",
    "page",
]
