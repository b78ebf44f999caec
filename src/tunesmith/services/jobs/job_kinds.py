"""The kinds of jobs, a row for each: what its worker runs, what comes of it, what shows how it goes, what can be made
of it. Nothing else asks a job for its kind by name where a row can answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.errors import UserError

Outcome = Literal["model", "dataset"]
Operation = Literal["clone", "fork", "advise", "regrade"]
EVALUATION = "eval"


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric and what it is called."""

    metric: str
    name: str


@dataclass(frozen=True, slots=True)
class JobKind:
    """What is particular to the jobs of one kind."""

    name: str
    spec: str
    """Kind of the spec that its settings make; its rows have the format of the same name."""
    outcome: Outcome
    """A model is trained; a dataset of graded answers is what an evaluation leaves."""
    newest: Measure
    """What says step by step how it goes."""
    held_out: Measure
    """What says how good a model is on rows that it was not trained on."""
    samples: bool
    """Whether its model makes attempts, which are kept."""
    operations: tuple[Operation, ...]
    """What others can be made of it."""

    def check(self, operation: Operation, job: str) -> None:
        """
        Args:
            job: its id or name.

        Raises:
            UserError: the operation is not for jobs of this kind.
        """
        if operation not in self.operations:
            able = ", ".join(kind.name for kind in JOB_KINDS.values() if operation in kind.operations)
            problem = f"is a job of kind {self.name}, for which there is no {operation}"
            raise UserError(job, problem, f"Kinds that have it: {able}")


JOB_KINDS: Mapping[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind(
            name="rft",
            spec="rft",
            outcome="model",
            newest=Measure("rollout/reward_mean", "reward"),
            held_out=Measure("eval/reward_mean", "reward"),
            samples=True,
            operations=("clone", "fork", "advise", "regrade"),
        ),
        JobKind(
            name="sft",
            spec="sft",
            outcome="model",
            newest=Measure("train/loss", "loss"),
            held_out=Measure("eval/loss", "loss"),
            samples=False,
            operations=("clone", "fork", "advise"),
        ),
        JobKind(
            name="dpo",
            spec="dpo",
            outcome="model",
            newest=Measure("train/accuracy", "accuracy"),
            held_out=Measure("eval/loss", "loss"),
            samples=False,
            operations=("clone", "fork", "advise"),
        ),
        JobKind(
            name=EVALUATION,
            spec="rft",
            outcome="dataset",
            newest=Measure("eval/reward_mean", "reward"),
            held_out=Measure("eval/reward_mean", "reward"),
            samples=True,
            operations=(),
        ),
    )
}
TRAINING = tuple(kind.name for kind in JOB_KINDS.values() if kind.outcome == "model")
"""Kinds that make a model."""
