"""Datasets of accounts: files that are uploaded whole, checked, and kept unchanged while jobs use them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from re import compile as pattern
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError, unknown
from tunesmith.data import FORMATS, Problem, check_file
from tunesmith.data.read import read_objects
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.pages import page_of
from tunesmith.services.store import Base, Store, utc_now
from tunesmith.services.uploads import Incoming, Uploads, check_display_name

State = Literal["UPLOADING", "READY", "FAILED"]
MAX_BYTES = 2 << 30
KEPT_PROBLEMS = 1000
"""Problems kept with a dataset; all are counted."""
QUICK_BYTES = 16 << 20
"""Files up to here are checked while a request waits."""
_ID = pattern(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


class DatasetRow(Base):
    """One dataset of an owner."""

    __tablename__ = "datasets"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(default="")
    """Folder of the newest upload; empty before the first."""
    display_name: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str]
    num_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    verdicts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """Kind of job -> fields of a Verdict; under the empty kind, whether it is lines of JSON objects."""
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of every line found."""

    rows: int
    num_problems: int
    problems: tuple[str, ...]
    """The first 1,000, each with file, line, field, what stands there and the mend."""
    whole_file: bool
    """Leaving out bad lines would not mend it."""
    refusal: str
    """What to say of it: the first twenty in full, alike ones once; empty when nothing is wrong."""
    mend: str
    notes: tuple[str, ...]

    def raise_if_bad(self, where: str, skip_bad_rows: bool = False) -> None:
        """
        Raises:
            UserError: lists the problems.
        """
        if self.refusal and (self.whole_file or not skip_bad_rows):
            raise UserError(where, self.refusal, self.mend)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What may be shown of a dataset."""

    owner: str
    id: str
    display_name: str
    kind: str
    """rft, sft, dpo, or empty while only jobs say what it is for."""
    state: State
    num_bytes: int
    verdict: Verdict | None
    """Of the check that made it READY or FAILED; None before."""
    asked: Mapping[str, Any]
    """The request in its own wire's words."""
    created_at: str
    """UTC, RFC 3339."""
    updated_at: str


class Datasets:
    """All datasets of a server; an owner sees only its own."""

    def __init__(self, store: Store, data_dir: Path, max_bytes: int = MAX_BYTES) -> None:
        self._store, self._uploads = store, Uploads(data_dir / "datasets", max_bytes, "dataset")

    def create(
        self,
        owner: str,
        dataset_id: str,
        *,
        display_name: str = "",
        kind: str = "",
        asked: Mapping[str, Any] | None = None,
        retry: bool = False,
    ) -> Dataset:
        """A dataset that waits for its file.

        Args:
            kind: rft, sft or dpo when it is known already: the file is then checked for that when it has arrived.
            retry: the client says that it sent this before: the one that it made is the answer.

        Raises:
            UserError: an id, name or kind that cannot be.
            Conflict: the owner has one of that id.
        """
        check_id(dataset_id)
        check_display_name(display_name)
        if kind and kind not in FORMATS:
            raise unknown("kind", kind, FORMATS)
        row = DatasetRow(
            owner=owner,
            id=dataset_id,
            display_name=display_name,
            kind=kind,
            state="UPLOADING",
            asked=dict(asked or {}),
        )
        with self._store.begin() as db:
            there = db.get(DatasetRow, (owner, dataset_id))
            if there is not None:
                same = (there.display_name, there.kind, there.asked) == (display_name, kind, row.asked)
                if retry and same and not there.key:
                    return _shown(there)
                raise Conflict(dataset_id, "is the id of a dataset already", "Choose another, or delete that one")
            db.add(row)
            db.flush()
            return _shown(row)

    @contextmanager
    def upload(self, owner: str, dataset_id: str) -> Iterator[Incoming]:
        """Take the file piece by piece; when the block ends it is on disk whole, when it fails nothing is. Then check.

        Raises:
            NotFound: no such dataset.
            Conflict: it has its file already.
        """
        self._waiting(owner, dataset_id)
        with self._uploads.arriving(f"{dataset_id}.jsonl") as (key, incoming):
            yield incoming
        with self._store.begin() as db:
            row = db.get(DatasetRow, (owner, dataset_id), with_for_update=True)
            waited = row is not None and row.state != "READY"
            unused = key
            if row is not None and waited:
                unused, row.key, row.num_bytes, row.state = row.key, key, incoming.num_bytes, "UPLOADING"
                row.verdicts, row.updated_at = {}, utc_now()
        self._uploads.discard(unused)
        if not waited:
            raise Conflict(dataset_id, "was deleted or finished by another request meanwhile", "Upload it again")

    def finish(self, owner: str, dataset_id: str) -> Dataset:
        """Check the file that has arrived: READY, or FAILED with what is wrong. Reads it all, so give it a thread.

        Raises:
            Conflict: there is no file yet.
        """
        row = self._row(owner, dataset_id)
        if row.state == "READY":
            return _shown(row)
        if not row.key:
            raise Conflict(dataset_id, "has no file yet", "Upload it first")
        verdict = _check(self._path(row), row.kind)
        return self._judge(row, row.kind, verdict, "FAILED" if verdict.refusal else "READY")

    def get(self, owner: str, dataset_id: str) -> Dataset:
        return _shown(self._row(owner, dataset_id))

    def page(
        self, owner: str, *, states: Sequence[str] = (), newest_first: bool = True, limit: int = 50, offset: int = 0
    ) -> tuple[list[Dataset], int]:
        """(some of the owner's, how many there are)."""
        those = select(DatasetRow).where(DatasetRow.owner == owner)
        if states:
            those = those.where(DatasetRow.state.in_(states))
        by = DatasetRow.created_at.desc() if newest_first else DatasetRow.created_at
        with self._store.read() as db:
            rows, total = page_of(db, those, (by, DatasetRow.id), limit, offset)
            return [_shown(row) for row in rows], total

    def rename(self, owner: str, dataset_id: str, display_name: str, asked: Mapping[str, Any] | None = None) -> Dataset:
        """Change what people read of a dataset, and the request that is shown again where one is given."""
        check_display_name(display_name)
        self._row(owner, dataset_id)
        with self._store.begin() as db:
            row = db.get_one(DatasetRow, (owner, dataset_id))
            row.display_name, row.updated_at = display_name, utc_now()
            row.asked = row.asked if asked is None else dict(asked)
            return _shown(row)

    def delete(self, owner: str, dataset_id: str) -> None:
        """Remove a dataset and its file.

        Raises:
            NotFound: no such dataset.
            Conflict: a job that has not ended uses it.
        """
        users = select(JobRow.name).where(
            JobRow.owner == owner,
            JobRow.state.not_in(ENDED),
            or_(JobRow.dataset == dataset_id, JobRow.evaluation_dataset == dataset_id),
        )
        with self._store.begin() as db:
            row = db.get(DatasetRow, (owner, dataset_id), with_for_update=True)
            if row is None:
                raise _absent(dataset_id)
            if user := db.scalar(users.limit(1)):
                raise Conflict(dataset_id, f"is used by the job {user}", "Wait until the job ends, or cancel it")
            db.delete(row)
        self._uploads.discard(row.key)

    def withdraw(self, owner: str, dataset_id: str) -> None:
        """Remove a dataset whose first upload failed, unless another has brought its file meanwhile."""
        with self._store.begin() as db:
            row = db.get(DatasetRow, (owner, dataset_id), with_for_update=True)
            if row is not None and not row.key:
                db.delete(row)

    def file(self, owner: str, dataset_id: str) -> Path:
        """Where the rows of a READY dataset are.

        Raises:
            NotFound: no such dataset.
            Conflict: it is not READY.
        """
        return self._path(_ready(self._row(owner, dataset_id)))

    def check_free(self, owner: str, dataset_id: str) -> None:
        """
        Raises:
            UserError: an id that cannot be one. Conflict: the owner has a dataset of that id.
        """
        check_id(dataset_id)
        with self._store.read() as db:
            if db.get(DatasetRow, (owner, dataset_id)) is not None:
                raise Conflict(dataset_id, "is the id of a dataset already", "Choose another, or delete that one")

    def hold(self, db: Session, owner: str, dataset_id: str) -> None:
        """In the transaction that makes a job: see that the dataset is there, and keep others from it until then."""
        row = db.get(DatasetRow, (owner, dataset_id), with_for_update=True)
        if row is None:
            raise _absent(dataset_id)
        _ready(row)

    def quick(self, owner: str, dataset_id: str, kind: str) -> bool:
        """Whether ``verdict`` answers at once."""
        row = self._row(owner, dataset_id)
        return kind in row.verdicts or row.num_bytes <= QUICK_BYTES

    def verdict(self, owner: str, dataset_id: str, kind: str) -> Verdict:
        """Whether a READY dataset serves a kind of job; every line is read the first time, so give it a thread."""
        row = _ready(self._row(owner, dataset_id))
        if kind in row.verdicts:
            return _verdict(row.verdicts[kind])
        found = _check(self._path(row), kind)
        self._judge(row, kind, found, "READY")
        return found

    def sweep(self) -> None:
        """Remove files that no row names: of uploads that a crash cut short. For when nothing is being uploaded."""
        with self._store.read() as db:
            named = set(db.scalars(select(DatasetRow.key)))
        self._uploads.sweep(named)

    def _judge(self, row: DatasetRow, kind: str, verdict: Verdict, state: State) -> Dataset:
        with self._store.begin() as db:
            now = db.get(DatasetRow, (row.owner, row.id), with_for_update=True)
            if now is None or now.key != row.key:
                raise Conflict(row.id, "was changed while it was checked", "Look at it again")
            fields = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
            now.verdicts = {**now.verdicts, kind: fields}
            now.state, now.updated_at = state, utc_now()
            return _shown(now)

    def _waiting(self, owner: str, dataset_id: str) -> None:
        if self._row(owner, dataset_id).state == "READY":
            raise Conflict(dataset_id, "is READY: its file does not change any more", "Create another dataset")

    def _row(self, owner: str, dataset_id: str) -> DatasetRow:
        check_id(dataset_id)
        with self._store.read() as db:
            row = db.get(DatasetRow, (owner, dataset_id))
        if row is None:
            raise _absent(dataset_id)
        return row

    def _path(self, row: DatasetRow) -> Path:
        return self._uploads.folder(row.key) / f"{row.id}.jsonl"


def check_id(dataset_id: str) -> None:
    """
    Raises:
        UserError: not 1 to 63 of a-z, 0-9 and ``-`` that begin with a letter and do not end with ``-``.
    """
    if not _ID.fullmatch(dataset_id):
        mend = "Use up to 63 of a-z, 0-9 and -, beginning with a letter and not ending with -"
        raise UserError("dataset", f"cannot be called {dataset_id[:80]!r}", mend)


def _check(path: Path, kind: str) -> Verdict:
    """Read every line, as rows of a kind or, without one, as JSON objects."""
    if not kind:
        return _check_lines(path)
    report = check_file(path, kind)
    problems = tuple(map(str, report.problems[:KEPT_PROBLEMS]))
    whole = any(problem.whole_file for problem in report.problems)
    refusal, mend = "", ""
    try:
        report.raise_if_bad()
    except UserError as e:
        refusal, mend = e.problem, e.mend
    return Verdict(report.counts.lines, report.counts.problems, problems, whole, refusal, mend, report.notes)


def _check_lines(path: Path) -> Verdict:
    rows, found = 0, []
    for _, line in read_objects(path):
        rows += line is not None
        if isinstance(line, Problem):
            found.append(line)
    if not rows:
        return Verdict(0, 1, ("line 1: File is empty",), True, "File is empty", "Upload one JSON object per line", ())
    whole = any(problem.whole_file for problem in found)
    shown = tuple(map(str, found[:KEPT_PROBLEMS]))
    refusal = f"Dataset validation failed: {found[0].problem} on line {found[0].line}" if found else ""
    return Verdict(rows, len(found), shown, whole, refusal, found[0].mend if found else "", ())


def _ready(row: DatasetRow) -> DatasetRow:
    if row.state != "READY":
        raise Conflict(row.id, f"is {row.state}, not READY", "Upload its file, and mend what is wrong with it, first")
    return row


def _absent(dataset_id: str) -> NotFound:
    return NotFound(dataset_id, "no such dataset", "Create it and upload its file first")


def _verdict(fields: Mapping[str, Any]) -> Verdict:
    lists = {name: tuple(fields[name]) for name in ("problems", "notes")}
    return Verdict(**{**fields, **lists})


def _shown(row: DatasetRow) -> Dataset:
    verdict = _verdict(row.verdicts[row.kind]) if row.verdicts and row.kind in row.verdicts else None
    state: State = row.state  # type: ignore[assignment]  # rows hold nothing else
    return Dataset(
        row.owner,
        row.id,
        row.display_name,
        row.kind,
        state,
        row.num_bytes,
        verdict,
        row.asked,
        row.created_at,
        row.updated_at,
    )
