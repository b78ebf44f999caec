"""Uploaded evaluators of accounts: a project or a single file that is built once, and scores the rollouts of jobs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from re import compile as pattern
from typing import Any, Literal, Protocol

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.grading.projects.manifest import parse_entry
from tunesmith.services.evaluator_builds import build
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.keys import Keys
from tunesmith.services.pages import page_of
from tunesmith.services.store import Base, Store, utc_now
from tunesmith.services.uploads import Incoming, Uploads, check_display_name
from tunesmith.services.user_code import check_walls

State = Literal["BUILDING", "ACTIVE", "BUILD_FAILED"]
MAX_BYTES = 100 << 20
LOG = "build.log"
PREFIX = "uploaded:"
"""Before the id of an evaluator in a job's settings."""
_ID = pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FILE = pattern(r"[\w][\w. +-]{0,199}\.(?:py|tar\.gz|tgz|tar|zip)")
_log = logging.getLogger(__name__)


class EvaluatorRow(Base):
    """One evaluator of an owner."""

    __tablename__ = "evaluators"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(default="")
    """Folder of the newest upload; empty before the first. A job that began keeps to the folder it began with."""
    upload: Mapped[str] = mapped_column(default="")
    """Name of the uploaded file."""
    display_name: Mapped[str]
    entry_point: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(default="")
    traits: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """What may be shown of an evaluator."""

    owner: str
    id: str
    display_name: str
    entry_point: str
    """``file.py::function``; empty while nobody said."""
    state: State
    """BUILDING until the build of an upload has ended."""
    reason: str
    """Why the build failed."""
    traits: Mapping[str, Any]
    """Of an ACTIVE one: kind, mode, processor, single_turn, max_concurrent_rollouts."""
    uploaded: bool
    asked: Mapping[str, Any]
    """The request in its own wire's words."""
    created_at: str
    """UTC, RFC 3339."""
    updated_at: str


class SecretEnvironment(Protocol):
    """Where an owner's secrets come from."""

    def environment(self, owner: str) -> dict[str, str]:
        """Name -> value, for the processes of the owner's evaluators."""
        ...


class Evaluators:
    """All evaluators of a server; an owner sees only its own."""

    def __init__(self, store: Store, data_dir: Path, secrets: SecretEnvironment) -> None:
        self._store, self._secrets = store, secrets
        self._uploads, self._environments = (
            Uploads(data_dir / "evaluators", MAX_BYTES, "evaluator"),
            data_dir / "environments",
        )
        self._builders = ThreadPoolExecutor(1, "evaluator-build")

    def create(
        self,
        owner: str,
        evaluator_id: str,
        *,
        entry_point: str = "",
        display_name: str = "",
        asked: Mapping[str, Any] | None = None,
        retry: bool = False,
    ) -> Evaluator:
        """An evaluator that waits for its upload.

        Args:
            retry: the client says that it sent this before: the one that it made is the answer.

        Raises:
            UserError: an id, name or entry point that cannot be.
            Conflict: the owner has one of that id.
        """
        check_id(evaluator_id)
        check_display_name(display_name)
        if entry_point:
            parse_entry(entry_point)
        row = EvaluatorRow(
            owner=owner,
            id=evaluator_id,
            display_name=display_name,
            entry_point=entry_point,
            state="BUILDING",
            asked=dict(asked or {}),
        )
        with self._store.begin() as db:
            there = db.get(EvaluatorRow, (owner, evaluator_id))
            if there is not None:
                if retry and there.asked == row.asked and not there.key:
                    return _shown(there)
                raise Conflict(evaluator_id, "is the id of an evaluator already", "Choose another, or delete that one")
            db.add(row)
            db.flush()
            return _shown(row)

    @contextmanager
    def upload(self, owner: str, evaluator_id: str, filename: str) -> Iterator[Incoming]:
        """Take a project (.tar.gz) or a single .py file piece by piece; then ``build``.

        Raises:
            NotFound: no such evaluator.
            Conflict: a job that has not ended uses it.
        """
        check_filename(filename)
        self._row(owner, evaluator_id)
        self._free(owner, evaluator_id)
        with self._uploads.arriving(filename) as (key, incoming):
            yield incoming
        with self._store.begin() as db:
            row = db.get(EvaluatorRow, (owner, evaluator_id), with_for_update=True)
            unused = key
            if row is not None:
                unused, row.key, row.upload = row.key, key, filename
                row.state, row.reason, row.traits, row.updated_at = "BUILDING", "", {}, utc_now()
        self._uploads.discard(unused)
        if row is None:
            raise _absent(evaluator_id)

    def start_build(self, owner: str, evaluator_id: str) -> None:
        """Build what was uploaded, in the background; once more when a build is asked for again.

        Raises:
            Conflict: nothing was uploaded yet.
            Denied: the server may not run code of its users.
        """
        check_walls(Keys(self._store))
        row = self._uploaded(owner, evaluator_id)
        if row.state != "ACTIVE":
            self._builders.submit(self._built, owner, evaluator_id, row.key)

    def build(self, owner: str, evaluator_id: str) -> Evaluator:
        """The same, and wait for its end."""
        check_walls(Keys(self._store))
        row = self._uploaded(owner, evaluator_id)
        if row.state != "ACTIVE":
            self._builders.submit(self._built, owner, evaluator_id, row.key).result()
        return self.get(owner, evaluator_id)

    def go_on(self) -> None:
        """Take up the builds that the end of a server cut short, and remove what no row names. At a server's start."""
        with self._store.read() as db:
            rows = db.scalars(select(EvaluatorRow)).all()
        self._uploads.sweep({row.key for row in rows})
        for row in rows:
            if row.state == "BUILDING" and row.key:
                self._builders.submit(self._built, row.owner, row.id, row.key)

    def close(self) -> None:
        """Builds that have not begun are left to the next start."""
        self._builders.shutdown(wait=False, cancel_futures=True)

    def get(self, owner: str, evaluator_id: str) -> Evaluator:
        return _shown(self._row(owner, evaluator_id))

    def page(
        self, owner: str, *, states: Sequence[str] = (), newest_first: bool = True, limit: int = 50, offset: int = 0
    ) -> tuple[list[Evaluator], int]:
        """(some of the owner's, how many there are)."""
        those = select(EvaluatorRow).where(EvaluatorRow.owner == owner)
        if states:
            those = those.where(EvaluatorRow.state.in_(states))
        by = EvaluatorRow.created_at.desc() if newest_first else EvaluatorRow.created_at
        with self._store.read() as db:
            rows, total = page_of(db, those, (by, EvaluatorRow.id), limit, offset)
            return [_shown(row) for row in rows], total

    def change(
        self,
        owner: str,
        evaluator_id: str,
        *,
        display_name: str | None = None,
        entry_point: str | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Evaluator:
        """Other words about it. Another entry point needs another build."""
        if display_name is not None:
            check_display_name(display_name)
        if entry_point:
            parse_entry(entry_point)
        self._row(owner, evaluator_id)
        with self._store.begin() as db:
            row = db.get_one(EvaluatorRow, (owner, evaluator_id))
            if display_name is not None:
                row.display_name = display_name
            if entry_point is not None and entry_point != row.entry_point:
                row.entry_point, row.state, row.traits = entry_point, "BUILDING", {}
            row.asked, row.updated_at = {**row.asked, **(asked or {})}, utc_now()
            return _shown(row)

    def delete(self, owner: str, evaluator_id: str) -> None:
        """
        Raises:
            NotFound: no such evaluator.
            Conflict: a job that has not ended uses it.
        """
        self._row(owner, evaluator_id)
        self._free(owner, evaluator_id)
        with self._store.begin() as db:
            row = db.get(EvaluatorRow, (owner, evaluator_id), with_for_update=True)
            if row is None:
                raise _absent(evaluator_id)
            db.delete(row)
        self._uploads.discard(row.key)

    def source(self, owner: str, evaluator_id: str) -> Path:
        """The file as it was uploaded.

        Raises:
            Conflict: nothing was uploaded yet.
            Denied: the server may not run code of its users.
        """
        row = self._uploaded(owner, evaluator_id)
        return self._uploads.folder(row.key) / row.upload

    def log(self, owner: str, evaluator_id: str) -> Path:
        """The build's log; empty before a build.

        Raises:
            Conflict: nothing was uploaded yet.
            Denied: the server may not run code of its users.
        """
        file = self._uploads.folder(self._uploaded(owner, evaluator_id).key) / LOG
        if not file.is_file():
            file.touch()
        return file

    def resolve(self, owner: str, evaluator_id: str) -> Path:
        """The folder of a built project, for a job's spec.

        Raises:
            NotFound: no such evaluator.
            Conflict: it is not ACTIVE.
        """
        row = self._row(owner, evaluator_id)
        if row.state != "ACTIVE":
            why = f": {row.reason}" if row.reason else ""
            raise Conflict(evaluator_id, f"is {row.state}, not ACTIVE{why}", "Wait for its build, or mend it first")
        return self._uploads.folder(row.key)

    def secrets(self, owner: str) -> dict[str, str]:
        """The environment variables that the owner's evaluators see."""
        return self._secrets.environment(owner)

    def _built(self, owner: str, evaluator_id: str, key: str) -> None:
        """A build from its beginning to the row that says how it ended."""
        folder = self._uploads.folder(key)
        row = self._row(owner, evaluator_id)
        if not folder.is_dir() or row.key != key:
            return
        with (folder / LOG).open("w", encoding="utf-8") as log:

            def say(text: str) -> None:
                log.write(f"{utc_now()} {text}\n")
                log.flush()

            state, reason, traits = "ACTIVE", "", {}
            try:
                secrets = self.secrets(owner)
                project = build(folder / row.upload, folder, row.entry_point, self._environments, secrets, say)
                traits = asdict(project.traits)
            except UserError as e:
                state, reason = "BUILD_FAILED", str(e)
            except Exception as e:
                _log.exception("the build of an evaluator failed")
                state, reason = "BUILD_FAILED", f"{type(e).__name__} in the server; see its log"
            say(reason or "built")
        with self._store.begin() as db:
            now = db.get(EvaluatorRow, (owner, evaluator_id), with_for_update=True)
            if now is not None and now.key == key:
                now.state, now.reason, now.traits, now.updated_at = state, reason[-8000:], traits, utc_now()

    def _row(self, owner: str, evaluator_id: str) -> EvaluatorRow:
        check_id(evaluator_id)
        with self._store.read() as db:
            row = db.get(EvaluatorRow, (owner, evaluator_id))
        if row is None:
            raise _absent(evaluator_id)
        return row

    def _uploaded(self, owner: str, evaluator_id: str) -> EvaluatorRow:
        row = self._row(owner, evaluator_id)
        if not row.key:
            raise Conflict(evaluator_id, "has no source yet", "Upload it first")
        return row

    def _free(self, owner: str, evaluator_id: str) -> None:
        """Refuse where a job that has not ended needs the evaluator as it is."""
        those = select(JobRow).where(JobRow.owner == owner, JobRow.state.not_in(ENDED))
        with self._store.read() as db:
            users = [row.name for row in db.scalars(those) if row.settings.get("evaluator") == PREFIX + evaluator_id]
        if users:
            raise Conflict(evaluator_id, f"is used by the job {users[0]}", "Wait until the job ends, or cancel it")


def check_id(evaluator_id: str) -> None:
    """
    Raises:
        UserError: not 1 to 63 of a-z, 0-9 and ``-`` that begin and end with a letter or digit.
    """
    if not _ID.fullmatch(evaluator_id):
        mend = "Use up to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
        raise UserError("evaluator", f"cannot be called {evaluator_id[:80]!r}", mend)


def check_filename(name: str) -> None:
    """
    Raises:
        UserError: not the name of a Python file or an archive.
    """
    if not _FILE.fullmatch(name):
        raise UserError("filename", f"cannot be {name[:80]!r}", "Upload a .tar.gz of the project, or one .py file")


def _absent(evaluator_id: str) -> NotFound:
    return NotFound(evaluator_id, "no such evaluator", "Create it and upload its project first")


def _shown(row: EvaluatorRow) -> Evaluator:
    state: State = row.state  # type: ignore[assignment]  # nothing else is written
    return Evaluator(
        row.owner,
        row.id,
        row.display_name,
        row.entry_point,
        state,
        row.reason,
        row.traits,
        bool(row.key),
        row.asked,
        row.created_at,
        row.updated_at,
    )
