"""Graders that are data: comparisons, similarities, Python source and questions to a model, put together by a formula.

``composed:`` and a JSON object is an evaluator string. ``check`` refuses what cannot be run, before anything is;
``build`` makes the function, in the process that runs it.
"""

from tunesmith.grading.composed.build import SOURCE, build
from tunesmith.grading.composed.check import KINDS, check, runs_python

PREFIX = "composed:"

__all__ = ["KINDS", "PREFIX", "SOURCE", "build", "check", "runs_python"]
