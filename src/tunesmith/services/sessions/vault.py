"""Saved weights: a row with a name and an owner for every folder of files. They outlive sessions and the server."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, func, select

from tunesmith.core.errors import Denied, NotFound, UserError
from tunesmith.services.sessions.rows import CheckpointRow, ModelRow, now
from tunesmith.services.store import Store

KINDS = ("weights", "sampler_weights", "external_weights")
SHORTEST_TTL, LONGEST_TTL = 3600, 10 * 365 * 24 * 3600
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_PATH = re.compile(r"tinker://([^/]+)/([^/]+)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Saving:
    """A checkpoint that is about to be written: where to, and what it will be called."""

    path: str
    kind: str
    name: str
    folder: Path
    overwrite: bool
    ttl_seconds: int | None
    user_metadata: dict[str, Any]
    inflight: bool = False


class Vault:
    """All checkpoints of a server; files below ``folder``."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        folder.mkdir(parents=True, exist_ok=True)

    def saving(
        self,
        model_id: str,
        kind: str,
        name: str,
        *,
        overwrite: bool = False,
        ttl_seconds: int | None = None,
        user_metadata: dict[str, Any] | None = None,
        inflight: bool = False,
    ) -> Saving:
        """Check a name before any work is done for it.

        Raises:
            UserError: a name that is taken or cannot be one, a ttl out of bounds.
        """
        if not _NAME.fullmatch(name):
            mend = "Use letters, digits, dot, dash and underscore, at most 200 of them"
            raise UserError("path", f"{name!r} is no name for a checkpoint", mend)
        check_ttl(ttl_seconds)
        path = f"tinker://{model_id}/{kind}/{name}"
        if not (overwrite or inflight) and self._row(path) is not None:
            raise UserError("path", f"{path} exists already", "Choose another name, or pass overwrite=True")
        folder = self.folder / model_id.replace(":", "_") / kind / f"{name}-{token_hex(4)}"
        replaces = overwrite or inflight
        return Saving(path, kind, name, folder, replaces, ttl_seconds, dict(user_metadata or {}), inflight)

    def commit(self, saving: Saving, model: ModelRow) -> CheckpointRow:
        """Enter a folder that is written whole; one of the same name is replaced, and its files go."""
        at = now()
        row = CheckpointRow(
            path=saving.path,
            model_id=model.id,
            owner=model.owner,
            kind=saving.kind,
            name=saving.name,
            folder=str(saving.folder.relative_to(self.folder)),
            base_model=model.base_model,
            rank=model.rank,
            train_attn=model.train_attn,
            train_mlp=model.train_mlp,
            train_unembed=model.train_unembed,
            inflight=saving.inflight,
            size_bytes=sum(f.stat().st_size for f in saving.folder.rglob("*") if f.is_file()),
            public=False,
            user_metadata=saving.user_metadata,
            created_at=at,
            expires_at=None if saving.ttl_seconds is None else at + saving.ttl_seconds,
        )
        with self.store.begin() as db:
            old = db.get(CheckpointRow, saving.path)
            if old is not None and not saving.overwrite:
                raise UserError("path", f"{saving.path} exists already", "Choose another name, or pass overwrite=True")
            old_folder = None if old is None else self.folder / old.folder
            db.merge(row)
        if old_folder is not None:
            shutil.rmtree(old_folder, ignore_errors=True)
        return row

    def find(self, path: str, owner: str, *, write: bool = False) -> CheckpointRow:
        """A checkpoint that this owner may read (theirs, or public) or, with ``write``, change.

        Raises:
            UserError: not a path. NotFound: nothing there, or expired. Denied: somebody else's.
        """
        if not _PATH.fullmatch(path):
            raise UserError("path", f"{path!r} is no checkpoint", "Paths look like tinker://<model>/weights/<name>")
        row = self._row(path)
        if row is None:
            raise NotFound(path, "no such checkpoint", "List them with GET /api/v1/checkpoints")
        if row.owner != owner and (write or not row.public):
            raise Denied(path, "You do not have access to this checkpoint", "Ask its owner to publish it")
        return row

    def files(self, row: CheckpointRow) -> Path:
        """The folder of a checkpoint's files."""
        return self.folder / row.folder

    def adapter(self, row: CheckpointRow) -> Path:
        """The folder of its weights in PEFT format."""
        return self.files(row) / "adapter" if row.kind == "weights" else self.files(row)

    def page(
        self, owner: str, model_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[Sequence[CheckpointRow], int]:
        """(newest first, how many there are in all)."""
        where = [CheckpointRow.owner == owner, _not_expired()]
        if model_id is not None:
            where.append(CheckpointRow.model_id == model_id)
        newest = select(CheckpointRow).where(*where).order_by(CheckpointRow.created_at.desc(), CheckpointRow.path)
        with self.store.read() as db:
            total = db.scalar(select(func.count()).select_from(CheckpointRow).where(*where)) or 0
            return db.scalars(newest.limit(limit).offset(offset)).all(), total

    def named(self, owner: str, kind: str, name: str, models: Sequence[str] = ()) -> Sequence[CheckpointRow]:
        """The owner's checkpoints of that name, of some models or of all; newest first."""
        where = [CheckpointRow.owner == owner, CheckpointRow.kind == kind, CheckpointRow.name == name, _not_expired()]
        if models:
            where.append(CheckpointRow.model_id.in_(models))
        with self.store.read() as db:
            return db.scalars(select(CheckpointRow).where(*where).order_by(CheckpointRow.created_at.desc())).all()

    def of_models(self, owner: str, models: Sequence[str] | None = None) -> Sequence[CheckpointRow]:
        """The owner's checkpoints, of some models or of all; oldest first."""
        where = [CheckpointRow.owner == owner, _not_expired()]
        if models is not None:
            where.append(CheckpointRow.model_id.in_(models))
        oldest = select(CheckpointRow).where(*where).order_by(CheckpointRow.created_at, CheckpointRow.path)
        with self.store.read() as db:
            return db.scalars(oldest).all()

    def delete(self, path: str, owner: str) -> None:
        row = self.find(path, owner, write=True)
        with self.store.begin() as db:
            db.delete(db.get_one(CheckpointRow, row.path))
        shutil.rmtree(self.files(row), ignore_errors=True)

    def publish(self, path: str, owner: str, public: bool) -> None:
        """Let every key of the server read it, or its owner's alone."""
        self.find(path, owner, write=True)
        with self.store.begin() as db:
            db.get_one(CheckpointRow, path).public = public

    def set_ttl(self, path: str, owner: str, ttl_seconds: int | None) -> None:
        """Let it go so many seconds from now; None keeps it for good."""
        check_ttl(ttl_seconds)
        self.find(path, owner, write=True)
        with self.store.begin() as db:
            db.get_one(CheckpointRow, path).expires_at = None if ttl_seconds is None else now() + ttl_seconds

    def copy(self, row: CheckpointRow, model: ModelRow, saving: Saving) -> CheckpointRow:
        """The same weights under another model's name."""
        saving.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.files(row), saving.folder)
        return self.commit(saving, model)

    def sweep(self) -> None:
        """Remove what has expired, and folders of writes that a crash cut short."""
        with self.store.begin() as db:
            for row in db.scalars(select(CheckpointRow).where(CheckpointRow.expires_at <= now())):
                shutil.rmtree(self.files(row), ignore_errors=True)
                db.delete(row)

    def sweep_orphans(self) -> None:
        """Remove folders that no row names; only at start, when nothing is being written."""
        with self.store.read() as db:
            named = {self.folder / folder for folder in db.scalars(select(CheckpointRow.folder))}
        for folder in self.folder.glob("*/*/*"):
            if folder not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def _row(self, path: str) -> CheckpointRow | None:
        with self.store.read() as db:
            row = db.get(CheckpointRow, path)
        return None if row is None or (row.expires_at is not None and row.expires_at <= now()) else row


def _not_expired() -> ColumnElement[bool]:
    return (CheckpointRow.expires_at.is_(None)) | (CheckpointRow.expires_at > now())


def check_ttl(ttl_seconds: int | None) -> None:
    if ttl_seconds is not None and not SHORTEST_TTL <= ttl_seconds <= LONGEST_TTL:
        bounds = f"{SHORTEST_TTL} (an hour) to {LONGEST_TTL} (ten years)"
        raise UserError("ttl_seconds", f"{ttl_seconds} is out of bounds", f"Give {bounds}, or leave it out to keep it")
