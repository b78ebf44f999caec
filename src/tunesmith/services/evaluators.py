"""Uploaded evaluators of accounts: a project or a single file that is built once, and scores the rollouts of jobs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tunesmith.core.errors import Conflict
from tunesmith.grading.projects.manifest import parse_entry
from tunesmith.services.evaluator_builders import LOG, Builders, SecretEnvironment
from tunesmith.services.evaluator_rows import Evaluator, EvaluatorRow, absent, check_filename, check_id, shown
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.keys import Keys
from tunesmith.services.pages import page_of
from tunesmith.services.store import Store, utc_now
from tunesmith.services.uploads import Incoming, Uploads, check_display_name
from tunesmith.services.user_code import check_walls

MAX_BYTES = 100 << 20
PREFIX = "uploaded:"
"""Before the id of an evaluator in a job's settings."""


class Evaluators:
    """All evaluators of a server; an owner sees only its own."""

    def __init__(self, store: Store, data_dir: Path, secrets: SecretEnvironment) -> None:
        self._store, self._secrets = store, secrets
        self._uploads = Uploads(data_dir / "evaluators", MAX_BYTES, "evaluator")
        self._builders = Builders(store, self._uploads, data_dir / "environments", secrets)

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
                    return shown(there)
                raise Conflict(evaluator_id, "is the id of an evaluator already", "Choose another, or delete that one")
            db.add(row)
            db.flush()
            return shown(row)

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
            raise absent(evaluator_id)

    def start_build(self, owner: str, evaluator_id: str) -> None:
        """Build what was uploaded, in the background; once more when a build is asked for again.

        Raises:
            Conflict: nothing was uploaded yet.
            Denied: the server may not run code of its users.
        """
        check_walls(Keys(self._store))
        row = self._uploaded(owner, evaluator_id)
        if row.state != "ACTIVE":
            self._builders.submit(row)

    def build(self, owner: str, evaluator_id: str) -> Evaluator:
        """The same, and wait for its end."""
        check_walls(Keys(self._store))
        row = self._uploaded(owner, evaluator_id)
        if row.state != "ACTIVE":
            self._builders.submit(row).result()
        return self.get(owner, evaluator_id)

    def go_on(self) -> None:
        """Take up the builds that the end of a server cut short, and remove what no row names. At a server's start."""
        with self._store.read() as db:
            rows = db.scalars(select(EvaluatorRow)).all()
        self._uploads.sweep({row.key for row in rows})
        for row in rows:
            if row.state == "BUILDING" and row.key:
                self._builders.submit(row)

    def close(self) -> None:
        """Builds that have not begun are left to the next start."""
        self._builders.close()

    def get(self, owner: str, evaluator_id: str) -> Evaluator:
        return shown(self._row(owner, evaluator_id))

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
            return [shown(row) for row in rows], total

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
            return shown(row)

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
                raise absent(evaluator_id)
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

    def _row(self, owner: str, evaluator_id: str) -> EvaluatorRow:
        check_id(evaluator_id)
        with self._store.read() as db:
            row = db.get(EvaluatorRow, (owner, evaluator_id))
        if row is None:
            raise absent(evaluator_id)
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
