"""Graders: built-in functions and users' own code, run so that whatever they do is a score or a labelled failure."""

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Score
from tunesmith.grading.builtin import GRADERS, Builtin
from tunesmith.grading.pool import GraderPool, GraderStats, build_grader, grader_of
from tunesmith.grading.verdict import LABELS

__all__ = [
    "GRADERS",
    "LABELS",
    "Builtin",
    "GraderPool",
    "GraderStats",
    "GradingError",
    "Score",
    "build_grader",
    "grader_of",
]
