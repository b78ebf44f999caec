"""Tuned models by name: an adapter on a registered base model, or a whole model, each the property of one owner."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import String, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tunesmith.core.durable import new_folder
from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.models.adapter_files import CONFIG as ADAPTER_CONFIG
from tunesmith.services.pages import page_of
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Base, Store, utc_now

_NAME = re.compile(r"(?!tinker://)[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}")


class TunedModelRow(Base):
    """One name of one owner."""

    __tablename__ = "tuned_models"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    base_model: Mapped[str]
    folder: Mapped[str]
    whole: Mapped[bool]
    job_id: Mapped[str]
    created_at: Mapped[str]


_OF_NAME = select(*TunedModelRow.__table__.columns).where(
    TunedModelRow.owner == bindparam("owner"), TunedModelRow.name == bindparam("name")
)


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What a name stands for."""

    name: str
    key: str
    """Of these weights and no others, ever: a name that is given again has another key."""
    base_model: str
    folder: Path
    """Of a PEFT adapter or, where ``whole``, of a model."""
    whole: bool
    job_id: str
    """The job that made it; empty where none did."""
    created_at: str


CARD = "card.json"
"""Beside the weights of a model that a job made: what the job proved."""


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Keep a run's card with its weights, without what names folders of this machine."""
    kept = {name: value for name, value in card.items() if name not in ("run_dir", "reproduce")}
    (folder / CARD).write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


def card_of(model: TunedModel) -> dict[str, Any]:
    """The card of the job that made a model; empty where there is none."""
    file = model.folder / CARD
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def insert(db: Session, row: TunedModelRow) -> TunedModel:
    """Write a name in the caller's transaction; the same again changes nothing.

    Raises:
        Conflict: it is taken.
    """
    old = db.get(TunedModelRow, (row.owner, row.name))
    if old is None:
        db.add(row)
    elif (old.base_model, old.folder, old.job_id) != (row.base_model, row.folder, row.job_id):
        raise Conflict(row.name, f"is the name of {old.folder}", "Give another name, or remove that model first")
    return _model(old or row)


class TunedModels:
    """The names in one database. Nothing is cached: a model that another process adds answers at once."""

    def __init__(self, store: Store, registry: Registry, folder: Path) -> None:
        """
        Args:
            folder: where copies of promoted checkpoints lie.
        """
        self._store, self._registry, self._folder = store, registry, folder

    def add(self, owner: str, name: str, base_model: str, folder: Path, job_id: str = "") -> TunedModel:
        """Give a folder a name. To add the same again changes nothing.

        Raises:
            UserError: a name that cannot be one, or a folder that holds neither an adapter nor a model.
            NotFound: no base model of that name. Conflict: the name is taken.
        """
        row = self.row_of(owner, name, base_model, folder, job_id)
        with self._store.begin() as db:
            return insert(db, row)

    def row_of(self, owner: str, name: str, base_model: str, folder: Path, job_id: str) -> TunedModelRow:
        """What ``add`` would write, checked but for whether the name is free."""
        self._check_name(name)
        base = self._registry.find(base_model).name
        return TunedModelRow(
            owner=owner,
            name=name,
            key=f"tuned:{uuid4().hex}",
            base_model=base,
            folder=str(folder.resolve()),
            whole=_is_whole(folder),
            job_id=job_id,
            created_at=utc_now(),
        )

    def promote(self, owner: str, name: str, vault: Vault, path: str) -> TunedModel:
        """Give a checkpoint of the Training API a name. The weights are copied: they outlive the checkpoint.

        Args:
            path: ``tinker://...``; of a model that is trained on, its weights as they are in that checkpoint.

        Raises:
            UserError: weights that are overwritten by the next save. NotFound, Denied: as ``Vault.find``.
        """
        self._check_name(name)
        found = vault.find(path, owner)
        if found.inflight:
            raise UserError(path, "is overwritten by the next save", "Save the weights under a name of their own")
        if (old := self.get(owner, name)) is not None:
            raise Conflict(name, f"is the name of {old.folder}", "Give another name, or remove that model first")
        return self.copy_of(owner, name, found.base_model, vault.adapter(found))

    def copy_of(self, owner: str, name: str, base_model: str, folder: Path, job_id: str = "") -> TunedModel:
        """Give a copy of the weights in a folder a name.

        Raises:
            UserError: a name that cannot be one. Conflict: taken. NotFound: the folder went meanwhile.
        """
        self._check_name(name)
        if (old := self.get(owner, name)) is not None:
            raise Conflict(name, f"is the name of {old.folder.name}", "Give another name, or remove that model first")
        copy = self._folder / uuid4().hex
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new_folder(copy) as unfinished:
                shutil.copytree(folder, unfinished, dirs_exist_ok=True)
        except (FileNotFoundError, shutil.Error):
            if folder.is_dir():
                raise
            raise NotFound(folder.parent.name, "is not kept any more", "List the checkpoints that there are") from None
        return self.add(owner, name, base_model, copy, job_id)

    def get(self, owner: str, name: str) -> TunedModel | None:
        """What an owner's name stands for; None where there is no such name."""
        if not _NAME.fullmatch(name):
            return None
        found = self._store.found(TunedModelRow, _OF_NAME, owner=owner, name=name)
        return _model(found[0]) if found else None

    def find(self, owner: str, name: str) -> TunedModel:
        """
        Raises:
            NotFound: the owner has no tuned model of that name.
        """
        model = self.get(owner, name)
        if model is None:
            raise NotFound(
                "model", f"there is no tuned model {name!r:.200}", "List those there are with GET /v1/models"
            )
        return model

    def page(self, owner: str, limit: int = 100, offset: int = 0) -> tuple[Sequence[TunedModel], int]:
        """(the owner's models, newest first; how many there are in all)."""
        mine = select(TunedModelRow).where(TunedModelRow.owner == owner)
        with self._store.read() as db:
            newest = (TunedModelRow.created_at.desc(), TunedModelRow.name)
            rows, total = page_of(db, mine, newest, limit, offset)
            return [_model(row) for row in rows], total

    def rename(self, owner: str, name: str, new_name: str) -> TunedModel:
        """Give the same weights another name.

        Raises:
            NotFound: the owner has no tuned model of the old name. UserError, Conflict: as ``add`` of the new one.
        """
        self.find(owner, name)
        self._check_name(new_name)
        with self._store.begin() as db:
            if new_name != name and db.get(TunedModelRow, (owner, new_name)) is not None:
                raise Conflict(new_name, "is the name of a tuned model already", "Give another name")
            row = db.get_one(TunedModelRow, (owner, name), with_for_update=True)
            row.name = new_name
            db.flush()
            return _model(row)

    def remove(self, owner: str, name: str) -> None:
        """Forget a name. A copy of a promoted checkpoint goes with it; the folder of a job stays.

        Raises:
            NotFound: the owner has no tuned model of that name.
        """
        model = self.find(owner, name)
        with self._store.begin() as db:
            row = db.get(TunedModelRow, (owner, name))
            if row is not None:
                db.delete(row)
        if model.folder.is_relative_to(self._folder.resolve()):
            shutil.rmtree(model.folder, ignore_errors=True)

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            mend = "Use up to 200 letters, digits and . _ : / @ -, beginning with a letter or digit"
            raise UserError("name", f"cannot be {name!r:.200}", mend)
        if name in {model.name for model in self._registry.models()}:
            raise Conflict(name, "is the name of a base model", "Give another name")


def _is_whole(folder: Path) -> bool:
    if (folder / ADAPTER_CONFIG).is_file():
        return False
    if (folder / "config.json").is_file():
        return True
    raise UserError(str(folder), "holds neither an adapter nor a model", f"Give a folder with {ADAPTER_CONFIG}")


def _model(row: TunedModelRow) -> TunedModel:
    return TunedModel(row.name, row.key, row.base_model, Path(row.folder), row.whole, row.job_id, row.created_at)
