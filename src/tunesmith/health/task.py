"""Which kind of job fits a task: enough right answers to imitate, or a way to tell good attempts from bad."""

from dataclasses import dataclass
from typing import Literal

MANY, FEW = 1000, 100


@dataclass(frozen=True, slots=True)
class Task:
    """What decides."""

    labels: int
    """Rows with a right answer."""
    reasoning: bool = False
    """Thinking before answering helps."""
    verifiable: bool = False
    """A program can tell whether an answer is right."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The kind of job, and why."""

    kind: Literal["sft", "rft"]
    grader: str
    """What judges the attempts of an rft job; empty for sft."""
    reason: str


def choose_kind(task: Task) -> Choice:
    """sft or rft, by the number of labels first, then by what can be checked."""
    if task.labels > MANY:
        return Choice("sft", "", f"{task.labels} right answers are more than {MANY}: enough to imitate")
    if task.labels > FEW and not task.reasoning:
        reason = f"{task.labels} right answers, between {FEW} and {MANY}, and no reasoning that would help"
        return Choice("sft", "", f"{reason}: imitating them is cheaper than exploring")
    if task.labels > FEW:
        reason = f"{task.labels} right answers, between {FEW} and {MANY}, and reasoning helps"
        return Choice("rft", "the right answers", f"{reason}: the answers say what to reach, not how to think")
    if task.labels:
        reason = f"{task.labels} right answers are too few to imitate without learning them by heart"
        return Choice("rft", "the right answers", f"{reason}; as a grader's key they go much further")
    if task.verifiable:
        return Choice("rft", "a program", "there are no right answers, but a result can be verified")
    return Choice("rft", "a judge", "there are no right answers and no way to verify one: a judge has to grade")
