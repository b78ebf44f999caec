"""Jobs of a server that come from others: clones, and forks, also with the one change that the advice names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select

from tunesmith.core.errors import NotFound
from tunesmith.services.advice import Advice, actionable, advise, fork_step
from tunesmith.services.jobs.job import Job, NewJob, shown
from tunesmith.services.jobs.job_kinds import JOB_KINDS, Operation
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.specs import check_evaluator, runs_code
from tunesmith.services.keys import Keys
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.user_code import check_walls

_FORKS = (
    select(*JobRow.__table__.columns)
    .where(JobRow.owner == bindparam("owner"), JobRow.parent == bindparam("parent"))
    .order_by(JobRow.created_at, JobRow.id)
)


class Offspring:
    """Makes jobs of a server from others of the same owner."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def clone(
        self,
        owner: str,
        job_id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        output_model: str | None = None,
        dataset: str | None = None,
        evaluation_dataset: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job with the settings and datasets of another, some of them changed."""
        new = self._like("clone", owner, job_id, changes or {}, name, output_model)
        new = replace(
            new,
            dataset=dataset or new.dataset,
            evaluation_dataset=evaluation_dataset or new.evaluation_dataset,
        )
        return self._jobs.create(owner, new, idempotency_key=idempotency_key)

    def fork(
        self,
        owner: str,
        job_id: str,
        changes: Mapping[str, Any],
        at_step: int | None = None,
        *,
        name: str | None = None,
        output_model: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job that shares the past of another up to a kept step, and goes on with some settings changed.

        Args:
            at_step: None is the newest that leaves something to train; 0 shares the settings alone.

        Raises:
            NotFound: the job has not begun, or no checkpoint of that step is kept.
            UserError: nothing changes, or a setting that the shared past rests on.
        """
        new = replace(self._like("fork", owner, job_id, changes, name, output_model), parent=job_id, at_step=at_step)
        return self._jobs.create(owner, new, idempotency_key=idempotency_key)

    def forks(self, owner: str, job_id: str) -> list[Job]:
        """Those of a job, oldest first."""
        return [shown(row) for row in self._jobs.store.found(JobRow, _FORKS, owner=owner, parent=job_id)]

    def advice(self, owner: str, job_id: str) -> Advice:
        """What the rules say of a job as it stands.

        Raises:
            NotFound: it has not begun.
        """
        return advise(self._begun("advise", owner, job_id))

    def fork_advised(
        self,
        owner: str,
        job_id: str,
        finding: str | None = None,
        *,
        name: str | None = None,
        output_model: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Fork a job with the one change of its first finding, or of another.

        Args:
            finding: its rule.

        Raises:
            NotFound: the job has no finding, or none of that rule.
            UserError: only a person can make the change.
        """
        run = self._begun("advise", owner, job_id)
        chosen, change = actionable(advise(run), finding)
        return self.fork(
            owner,
            job_id,
            {change.setting: change.new},
            fork_step(run, chosen),
            name=name,
            output_model=output_model,
            idempotency_key=idempotency_key,
        )

    def regrading(
        self, owner: str, job_id: str, evaluator: str | list[str], steps: int | None = None, held_out: bool = False
    ) -> dict[str, Any]:
        """What the errand ``regrade`` needs to grade the attempts of a job anew.

        Raises:
            NotFound: the job has not begun.
            UserError: a job that samples nothing, or an evaluator that a job would refuse.
        """
        run = self._begun("regrade", owner, job_id)
        check_evaluator(evaluator, user_code=False)
        if runs_code(evaluator):
            check_walls(Keys(self._jobs.store))
        names = [evaluator] if isinstance(evaluator, str) else evaluator
        return {
            "run": str(run.path),
            "evaluator": self._jobs.specs.evaluator(owner, evaluator),
            "steps": steps,
            "name": "eval" if held_out else "step",
            "secrets": self._jobs.specs.secrets(owner),
            "named": {"run": job_id, "evaluator": names},
        }

    def _like(
        self,
        operation: Operation,
        owner: str,
        job_id: str,
        changes: Mapping[str, Any],
        name: str | None,
        output_model: str | None,
    ) -> NewJob:
        """The request for a job like another."""
        row = self._row(operation, owner, job_id)
        return NewJob(
            row.kind,
            {**row.settings, **changes},
            row.dataset,
            row.evaluation_dataset,
            name,
            row.display_name,
            output_model,
            asked=row.asked,
            # A file that our own caller put there, and none that a client names now.
            user_code=row.user_code and "evaluator" not in changes,
        )

    def _begun(self, operation: Operation, owner: str, job_id: str) -> RunFolder:
        run = self._jobs.folders.run(self._row(operation, owner, job_id).id)
        if not (run.path / "state.json").is_file():
            raise NotFound(job_id, "has not begun", "Wait until the job runs")
        return run

    def _row(self, operation: Operation, owner: str, job_id: str) -> JobRow:
        row = self._jobs.row(owner, job_id)
        JOB_KINDS[row.kind].check(operation, row.name)
        return row
