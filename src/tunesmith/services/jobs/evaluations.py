"""What an evaluation may be asked: whose answers are graded, how they are sampled, and by what."""

from collections.abc import Collection
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.spec import RftSpec

GRADING = ("evaluator", "grader_timeout_s", "grader_memory_mb", "max_concurrent_rollouts", "skip_bad_rows", "limits")
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_context_length",
    "eval_samples",
    "seed",
    "rollout_timeout_s",
)
"""Settings of rft that an evaluation reads; the latter where a model's answers are graded."""
OWN = ("model", "output_dataset")
NAMED_OTHERWISE = ("base_model", "warm_start_from")
LONGEST = 63
"""Characters of a dataset's id."""


def check_settings(given: Collection[str]) -> None:
    """
    Raises:
        UserError: a setting that an evaluation has not, or that nothing of this one would read.
    """
    for name in given:
        if name in NAMED_OTHERWISE:
            raise UserError(name, "is no setting of an evaluation", "Give the model by its name as model")
        if name not in (*GRADING, *SAMPLING, *OWN):
            known = ", ".join((*OWN, *GRADING, *SAMPLING))
            raise UserError(name[:80], "is no setting of an evaluation", f"It has: {known}")
        if name in SAMPLING and "model" not in given:
            problem = "is for sampling, and without a model the answers are graded that the rows hold"
            raise UserError(name, problem, "Give a model too, or leave it out")


def check_judges(spec: RftSpec) -> None:
    """
    Raises:
        UserError: an evaluation of new attempts by scores that only recorded ones have.
    """
    if spec.recorded:
        raise UserError("evaluator", "is recorded, which judges no new attempts", "Name a grader, with --evaluator")


def output_of(name: str) -> str:
    """Id of the dataset that an evaluation of that name leaves, unless it is asked for another."""
    ending = "-results"
    return f"{name[: LONGEST - len(ending)].rstrip('-')}{ending}"


def asked_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a spec has too."""
    return {name: value for name, value in settings.items() if name not in OWN}
