"""From a request to a queued job: whatever can be checked without the model is, before its row is there."""

from collections.abc import Callable, Iterable, Sequence
from secrets import token_hex

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tunesmith.core.errors import Conflict, UserError, unknown
from tunesmith.services.datasets import Datasets
from tunesmith.services.jobs.evaluations import check_judges, output_of
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.forking import queue_fork
from tunesmith.services.jobs.job import Job, NewJob, check_name, shown
from tunesmith.services.jobs.job_kinds import JOB_KINDS
from tunesmith.services.jobs.moves import locked, move, note
from tunesmith.services.jobs.repeats import check_key, earlier_job
from tunesmith.services.jobs.results import Results
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.specs import Specs, check_evaluator, runs_code
from tunesmith.services.keys import Keys
from tunesmith.services.store import Store, utc_now
from tunesmith.services.trackers.companion import check_ready
from tunesmith.services.uploads import check_display_name
from tunesmith.services.user_code import check_walls
from tunesmith.spec import AnySpec, RftSpec


class Creation:
    """Makes jobs of some kinds.

    Args:
        find: the row of an owner's job, by its id.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        store: Store,
        datasets: Datasets,
        results: Results,
        specs: Specs,
        folders: Folders,
        find: Callable[[str, str], JobRow],
    ) -> None:
        self._kinds, self._store, self._datasets, self._results = kinds, store, datasets, results
        self._specs, self._folders, self._find = specs, folders, find

    def create(self, owner: str, new: NewJob, idempotency_key: str | None, retry: bool) -> Job:
        """As ``Jobs.create``."""
        began, fingerprint = utc_now(), new.fingerprint()
        check_key(idempotency_key)

        def earlier(db: Session) -> JobRow | None:
            return earlier_job(db, owner, fingerprint, idempotency_key, retry, began)

        with self._store.read() as db:
            if (row := earlier(db)) is not None:
                return shown(row)
        row = self._new_row(owner, new, began, fingerprint)
        row.request_key, row.retried = idempotency_key, retry
        spec, checked = self._check(row, new)

        def insert() -> Job:
            return self._insert(row, earlier, spec.warnings(), checked)

        if new.parent is None:
            return insert()
        return queue_fork(self._folders, self._find(owner, new.parent), row, spec, new.at_step, insert)

    def check(self, owner: str, new: NewJob) -> tuple[AnySpec, list[str]]:
        """As ``Jobs.check``."""
        row = self._new_row(owner, new, utc_now(), "")
        spec, _ = self._check(row, new)
        return spec, list(spec.warnings())

    def validate(self, job_id: str) -> None:
        """As ``Jobs.validate``."""
        with self._store.read() as db:
            row = db.get(JobRow, job_id)
        if row is None or row.state != "validating":
            return
        why = ""
        try:
            spec = self._specs.build(row.owner, row.id, row)
            self._check_datasets(row, spec.skip_bad_rows)
        except UserError as e:
            why = str(e)
        with self._store.begin() as db:
            now = locked(db, job_id)
            if now is not None and now.state == "validating":
                move(db, now, "failed" if why else "queued", why)

    def _new_row(self, owner: str, new: NewJob, now: str, fingerprint: str) -> JobRow:
        if new.kind not in self._kinds:
            raise unknown("kind", new.kind[:80], self._kinds)
        job_id = f"job-{token_hex(10)}"
        name = job_id if new.name is None else new.name
        check_name("name", name)
        check_display_name(new.display_name)
        output = name if new.output_model is None else new.output_model
        check_name("output_model", output)
        made = {"output_dataset": output_of(name)} if JOB_KINDS[new.kind].outcome == "dataset" else {}
        return JobRow(
            id=job_id,
            owner=owner,
            kind=new.kind,
            name=name,
            display_name=new.display_name,
            settings=made | dict(new.settings),
            asked=dict(new.asked),
            user_code=new.user_code,
            dataset=new.dataset,
            evaluation_dataset=new.evaluation_dataset,
            output_model=output,
            parent=new.parent,
            forked={},
            state="",
            created_at=now,
            updated_at=now,
            fingerprint=fingerprint,
        )

    def _check(self, row: JobRow, new: NewJob) -> tuple[AnySpec, bool]:
        """(all settings, whether the datasets are checked too)."""
        spec = self._specs.build(row.owner, row.id, new)
        if isinstance(spec, RftSpec):
            check_evaluator(new.settings["evaluator"], new.user_code)
            if runs_code(new.settings["evaluator"]):
                check_walls(Keys(self._store))
        if spec.report_to:
            check_ready(spec.report_to, self._specs.secrets(row.owner))
        if JOB_KINDS[row.kind].outcome == "dataset":
            assert isinstance(spec, RftSpec), "an evaluation has the settings of rft"
            check_judges(spec)
            self._datasets.check_free(row.owner, str(row.settings["output_dataset"]))
        else:
            self._results.check_free(row.owner, row.output_model)
        quick = all(self._datasets.quick(row.owner, d, JOB_KINDS[row.kind].spec) for d in _datasets(row))
        if quick:
            self._check_datasets(row, spec.skip_bad_rows)
        return spec, quick

    def _check_datasets(self, row: JobRow, skip_bad_rows: bool) -> None:
        for dataset in _datasets(row):
            verdict = self._datasets.verdict(row.owner, dataset, JOB_KINDS[row.kind].spec)
            verdict.raise_if_bad(dataset, skip_bad_rows)

    def _insert(
        self, row: JobRow, earlier: Callable[[Session], JobRow | None], warnings: Iterable[str], checked: bool
    ) -> Job:
        try:
            with self._store.begin() as db:
                # First, because it makes the same request wait that comes at the same time.
                for dataset in sorted(set(_datasets(row))):
                    self._datasets.hold(db, row.owner, dataset)
                if (there := earlier(db)) is not None:
                    return shown(there)
                db.add(row)
                db.flush()
                move(db, row, "created")
                for warning in warnings:
                    note(db, row, warning, level="warning")
                move(db, row, "validating")
                if checked:
                    move(db, row, "queued")
                db.flush()
                return shown(row)
        except IntegrityError:
            with self._store.read() as db:
                if (there := earlier(db)) is not None:
                    return shown(there)
            mend = "Choose another, or delete that job"
            raise Conflict(row.name, f"is the name of another {row.kind} job", mend) from None


def _datasets(row: JobRow) -> list[str]:
    return [row.dataset] + ([] if row.evaluation_dataset is None else [row.evaluation_dataset])
