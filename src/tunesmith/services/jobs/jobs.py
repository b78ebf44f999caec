"""Managed jobs as their owners see them: create, look, cancel, pause, go on, delete. The scheduler runs them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from tunesmith.core.errors import Conflict, NotFound, unknown
from tunesmith.core.types import Finding, Metrics
from tunesmith.services.datasets import Datasets
from tunesmith.services.deployments import Deployments
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.jobs.creating import Creation
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.forking import sweep_forks
from tunesmith.services.jobs.job import Job, JobEvent, NewJob, check_beginning, shown, shown_event
from tunesmith.services.jobs.job_kinds import TRAINING
from tunesmith.services.jobs.kept import KeptCheckpoints
from tunesmith.services.jobs.moves import ENDED, STATES, State, locked, move
from tunesmith.services.jobs.progress import Progress, progress_of
from tunesmith.services.jobs.results import Results
from tunesmith.services.jobs.rows import JobEventRow, JobRow
from tunesmith.services.jobs.specs import Specs
from tunesmith.services.model_names import ModelNames
from tunesmith.services.pages import page_of
from tunesmith.services.registry import Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Store
from tunesmith.spec import AnySpec

ORDERS = {
    "created_at": JobRow.created_at,
    "updated_at": JobRow.updated_at,
    "name": JobRow.name,
    "state": JobRow.state,
}
# What clients ask again and again.
_WITH_ID = select(*JobRow.__table__.columns).where(JobRow.id == bindparam("id"))
_EVENTS_AFTER = (
    select(*JobEventRow.__table__.columns)
    .where(JobEventRow.job_id == bindparam("job"), JobEventRow.number > bindparam("after"))
    .order_by(JobEventRow.number)
    .limit(bindparam("most"))
)


class Jobs:
    """All jobs of a server of some kinds; an owner sees only its own. They are found by id, or by name and kind."""

    def __init__(
        self,
        store: Store,
        datasets: Datasets,
        evaluators: Evaluators,
        registry: Registry,
        data_dir: Path,
        kinds: Sequence[str] = TRAINING,
    ) -> None:
        self._kinds = kinds
        self.store, self.datasets = store, datasets
        self.folders = Folders(data_dir / "jobs")
        self.results = Results(store, registry, data_dir)
        tuned, vault = self.results.models, Vault(store, data_dir / "training" / "checkpoints")
        self.kept = KeptCheckpoints(store, self.folders)
        self.models = ModelNames(registry, tuned, Deployments(store, registry, tuned), vault, self.kept)
        self.specs = Specs(datasets, registry, self.results, self.folders, evaluators, self.models)
        self._creation = Creation(kinds, store, datasets, self.results, self.specs, self.folders, self.row)

    def create(self, owner: str, new: NewJob, *, idempotency_key: str | None = None, retry: bool = False) -> Job:
        """Check everything that can be checked without the model, and queue the job.

        Datasets over 16 MB are checked afterwards: the job is ``validating`` until then.

        Args:
            idempotency_key: for 24 hours the same key gives the same job.
            retry: the client says that it sent this request before; if that one made a job, it is the answer.

        Raises:
            UserError: a setting, name or dataset that is refused.
            NotFound: a dataset, base model or earlier result that is not there.
            Conflict: the name is taken, the key was used for another request, or a dataset is not READY.
        """
        return self._creation.create(owner, new, idempotency_key, retry)

    def check(self, owner: str, new: NewJob) -> tuple[AnySpec, list[str]]:
        """(all settings, warnings) of a job that could be created now; refuses what ``create`` would, makes nothing."""
        return self._creation.check(owner, new)

    def get(self, owner: str, job_id: str) -> Job:
        return shown(self.row(owner, job_id))

    def find(self, owner: str, kind: str, name: str) -> Job:
        """The job that the client called ``name``."""
        those = select(JobRow).where(JobRow.owner == owner, JobRow.kind == kind, JobRow.name == name)
        with self.store.read() as db:
            row = db.scalar(those) if name.isprintable() else None
        if row is None:
            raise _absent(name)
        return shown(row)

    def page(
        self,
        owner: str,
        *,
        kind: str | None = None,
        states: Sequence[str] = (),
        beginning: str = "",
        order: str = "created_at",
        descending: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Job], int]:
        """(some of the owner's jobs, how many there are with that kind and those states).

        Args:
            beginning: of the id or the name.
        """
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        for state in states:
            if state not in STATES:
                raise unknown("state", state, STATES)
        those = select(JobRow).where(JobRow.owner == owner)
        those = those.where(JobRow.kind.in_(self._kinds if kind is None else [kind]))
        if states:
            those = those.where(JobRow.state.in_(states))
        if beginning:
            check_beginning(beginning)
            begins = (column.startswith(beginning, autoescape=True) for column in (JobRow.id, JobRow.name))
            those = those.where(or_(*begins))
        by = ORDERS[order].desc() if descending else ORDERS[order].asc()
        with self.store.read() as db:
            rows, total = page_of(db, those, (by, JobRow.id), limit, offset)
            return [shown(row) for row in rows], total

    def cancel(self, owner: str, job_id: str) -> Job:
        """End a job that has not ended; one that runs is ``cancelling`` for at most a few seconds.

        Raises:
            Conflict: it has ended otherwise.
        """
        return self._halt(owner, job_id, "cancelling", "cancelled", "by request")

    def pause(self, owner: str, job_id: str) -> Job:
        """Let a job rest; ``resume`` takes it up after its last checkpoint."""
        return self._halt(owner, job_id, "pausing", "paused", "by request")

    def resume(self, owner: str, job_id: str) -> Job:
        """Queue a paused, cancelled or failed job again: it goes on after its last checkpoint.

        Raises:
            Conflict: it has not stopped, or it came to its end.
            NotFound: a dataset of it is gone.
        """
        row = self.row(owner, job_id)
        self.specs.build(owner, row.id, row)
        with self.store.begin() as db:
            row = self._locked(db, owner, job_id)
            move(db, row, "validating", "resumed by request")
            row.stalled = 0
            return shown(row)

    def delete(self, owner: str, job_id: str) -> None:
        """Remove a job with all that it wrote; one that runs is stopped first, within a few seconds."""
        with self.store.begin() as db:
            row = self._locked(db, owner, job_id)
            if row.state == "deleting":
                return
            alone = row.state not in ("running", "pausing", "cancelling")
            move(db, row, "deleting", "by request")
        if alone:
            self.remove(job_id)

    def events(self, owner: str, job_id: str, after: int = 0, limit: int = 200) -> list[JobEvent]:
        """What happened, oldest first, from the event after that number on."""
        self.row(owner, job_id)
        found = self.store.found(JobEventRow, _EVENTS_AFTER, job=job_id, after=after, most=limit)
        return [shown_event(row) for row in found]

    def newest_events(self, owner: str, job_id: str, levels: Sequence[str], limit: int = 200) -> list[JobEvent]:
        """What happened lately, newest first."""
        self.row(owner, job_id)
        those = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.level.in_(levels))
        with self.store.read() as db:
            return [shown_event(row) for row in db.scalars(those.order_by(JobEventRow.number.desc()).limit(limit))]

    def spec(self, owner: str, job_id: str) -> AnySpec:
        """All settings with their defaults, as the worker runs them."""
        return self.specs.build(owner, job_id, self.row(owner, job_id))

    def run(self, owner: str, job_id: str) -> RunFolder:
        """The run folder: rollouts, checkpoints, card and report. Empty until a worker has made it."""
        return self.folders.run(self.row(owner, job_id).id)

    def progress(self, owner: str, job_id: str) -> Progress:
        return self.progress_of(self.get(owner, job_id))

    def progress_of(self, job: Job) -> Progress:
        """The same for a job in hand."""
        return progress_of(self.folders.run(job.id), int(job.settings.get("epochs", 1)))

    def metrics(self, owner: str, job_id: str, after_step: int = -1) -> list[Metrics]:
        """One dict per finished step after that one, each with "step"; step 0 is the evaluation before training."""
        return self.run(owner, job_id).metrics_after(after_step)

    def findings(self, owner: str, job_id: str) -> list[Finding]:
        """What the health rules say of the run so far."""
        return self.run(owner, job_id).findings()

    def logs(self, owner: str, job_id: str, offset: int = 0, most_bytes: int = 1 << 20) -> tuple[str, int]:
        """(text of the log from a byte on, the byte to ask for next); complete lines only."""
        file = self.run(owner, job_id).path / "log.txt"
        if not file.is_file():
            return "", offset
        with file.open("rb") as log:
            log.seek(offset)
            data = log.read(most_bytes)
        whole = data[: data.rfind(b"\n") + 1]
        return whole.decode("utf-8", "replace"), offset + len(whole)

    def validate(self, job_id: str) -> None:
        """Check the datasets of a job that is ``validating``: it is queued, or failed with what is wrong."""
        self._creation.validate(job_id)

    def sweep(self) -> None:
        """Remove files that no row names, of requests that a crash cut short. For when nothing is being made."""
        self.datasets.sweep()
        with self.store.read() as db:
            known = set(db.scalars(select(JobRow.id)))
        sweep_forks(self.folders, known)

    def remove(self, job_id: str) -> None:
        """The end of ``delete``: nobody works on the job any more."""
        shutil.rmtree(self.folders.of(job_id), ignore_errors=True)
        with self.store.begin() as db:
            row = locked(db, job_id)
            if row is not None and row.state == "deleting":
                for event in db.scalars(select(JobEventRow).where(JobEventRow.job_id == job_id)):
                    db.delete(event)
                db.flush()
                db.delete(row)

    def _halt(self, owner: str, job_id: str, by: State, to: State, why: str) -> Job:
        with self.store.begin() as db:
            row = self._locked(db, owner, job_id)
            if row.state not in (by, to):
                if row.state in ENDED:
                    verb = {"cancelled": "cancel", "paused": "pause"}[to]
                    raise Conflict(row.name, f"cannot {verb} job in state: {row.state}", "It has ended: leave it")
                move(db, row, by if row.state in ("running", "pausing") else to, why)
            return shown(row)

    def row(self, owner: str, job_id: str) -> JobRow:
        """For rooms that make jobs of others."""
        found = self.store.found(JobRow, _WITH_ID, id=job_id) if job_id.isprintable() else ()
        return self._owned(found[0] if found else None, owner, job_id)

    def _locked(self, db: Session, owner: str, job_id: str) -> JobRow:
        return self._owned(locked(db, job_id) if job_id.isprintable() else None, owner, job_id)

    def _owned(self, row: JobRow | None, owner: str, job_id: str) -> JobRow:
        if row is None or row.owner != owner or row.kind not in self._kinds:
            raise _absent(job_id)
        return row


def _absent(name: str) -> NotFound:
    return NotFound(name[:128], "no such job", "List the jobs to see their names")
