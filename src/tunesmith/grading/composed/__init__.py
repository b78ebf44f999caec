"""Graders that are data: comparisons, similarities and Python source, put together by a formula.

``composed:`` and a JSON object is an evaluator string. ``check`` refuses what cannot be run, before anything is;
``build`` makes the function, in the process that runs it.
"""

from tunesmith.grading.composed.build import SOURCE, Fields, build
from tunesmith.grading.composed.check import KINDS, check, runs_python

PREFIX = "composed:"

__all__ = ["KINDS", "PREFIX", "SOURCE", "Fields", "build", "check", "runs_python"]
