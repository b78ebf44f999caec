"""Before a job is queued: how its rows are divided, and what an errand is given to try it out."""

from typing import Any

from tunesmith.data.split import held_out_of
from tunesmith.services.jobs.job import NewJob
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.spec import AnySpec


def split_of(spec: AnySpec, rows: int) -> tuple[int, int]:
    """(rows to train on, rows held out of them); rows that are alike may move a few more to the first."""
    held = held_out_of(rows) if spec.eval_auto_carveout and not spec.evaluation_dataset else 0
    return rows - held, held


def rehearsing(jobs: Jobs, owner: str, new: NewJob) -> dict[str, Any]:
    """For the errands ``plan`` and ``try``. What a job would refuse is refused here too.

    Raises:
        UserError: as ``Jobs.check``.
    """
    spec, _ = jobs.check(owner, new)
    # The same job asked for twice is the same question, and is answered once.
    return {"spec": {**spec.model_dump(), "output_dir": None}, "secrets": jobs.specs.secrets(owner)}
