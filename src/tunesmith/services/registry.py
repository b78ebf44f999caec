"""Base models by name. A name such as ``Qwen/Qwen3-8B`` stands for a model folder; the embedded model has one."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError, unknown
from tunesmith.models.chat import TOKENIZER_FILES
from tunesmith.models.config import read_config
from tunesmith.services.store import Base, Store, utc_now

EMBEDDED = "tunesmith/embedded"
LONGEST_NAME = 128
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")


class RegisteredModelRow(Base):
    """One name."""

    __tablename__ = "registered_models"
    name: Mapped[str] = mapped_column(primary_key=True)
    folder: Mapped[str]
    max_context: Mapped[int]
    added_at: Mapped[str]


_BY_NAME = select(*RegisteredModelRow.__table__.columns).order_by(RegisteredModelRow.name)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A base model that clients may train and sample."""

    name: str
    folder: Path
    max_context: int
    """Positions of the model, tokens."""


class Registry:
    """The names in one database. Nothing is cached: a name that another process adds is known at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # names.embedded_model says the same, and brings torch, which the server and this command do without.
        folder = Path(str(files("tunesmith.models") / "embedded"))
        self._embedded = RegisteredModel(EMBEDDED, folder, read_config(folder).max_positions)

    def add(self, name: str, folder: Path) -> RegisteredModel:
        """Give a model folder a name. To add the same pair again changes nothing.

        Raises:
            UserError: a name that clients could not use, or an unsupported architecture.
            NotFound: config, weights or tokenizer are missing.
            Conflict: the name is taken by another folder.
        """
        check_name(name)
        model = RegisteredModel(name, folder.expanduser().resolve(), _context_of(folder.expanduser()))
        if name == EMBEDDED:
            raise Conflict(name, "is the model that ships with Tunesmith", "Give another name")
        with self._store.begin() as session:
            row = session.get(RegisteredModelRow, name)
            if row is not None and row.folder != str(model.folder):
                mend = f"Give another name, or first: tunesmith models remove {name}"
                raise Conflict(name, f"is the name of {row.folder}", mend)
            if row is None:
                row = RegisteredModelRow(
                    name=name, folder=str(model.folder), max_context=model.max_context, added_at=utc_now()
                )
                session.add(row)
            row.max_context = model.max_context
        return model

    def remove(self, name: str) -> None:
        """Forget a name. The folder stays, and so do policies that were trained on it.

        Raises:
            NotFound: there is no such name.
            Conflict: the embedded model, which is always there.
        """
        if name == EMBEDDED:
            raise Conflict(name, "ships with Tunesmith and is always there", "Leave it")
        with self._store.begin() as session:
            row = session.get(RegisteredModelRow, name)
            if row is not None:
                session.delete(row)
                return
        raise self._unknown(name)

    def find(self, name: str) -> RegisteredModel:
        """The model of a name.

        Raises:
            NotFound: there is no such name; lists those that there are.
        """
        if name == EMBEDDED:
            return self._embedded
        with self._store.read() as session:
            # A database may refuse characters that no name has.
            row = session.get(RegisteredModelRow, name) if name.isprintable() else None
            if row is not None:
                return _model(row)
        raise self._unknown(name)

    def models(self) -> list[RegisteredModel]:
        """All models, the embedded one first, then by name."""
        return [self._embedded, *map(_model, self._store.found(RegisteredModelRow, _BY_NAME))]

    def _unknown(self, name: str) -> NotFound:
        refusal = unknown("base_model", name, (model.name for model in self.models()))
        return NotFound(refusal.where, refusal.problem, f"{refusal.mend}. Add one with: tunesmith models add NAME DIR")


def check_name(name: str) -> None:
    """Refuse what could not be part of an address, or what Hugging Face's clients refuse to ask for.

    Raises:
        UserError: not two to four parts of letters, digits, ``.``, ``_`` and ``-`` with ``/`` between them.
    """
    parts = name.split("/")
    good = 2 <= len(parts) <= 4 and all(map(_PART.fullmatch, parts)) and len(name) <= LONGEST_NAME
    if not good or ".." in name or "--" in name or name.endswith(".git"):
        mend = "Use an owner, a slash and a name of letters, digits and single . _ -, such as Qwen/Qwen3-8B"
        raise UserError("name", f"cannot be {name[:LONGEST_NAME]!r}", mend)


def _context_of(folder: Path) -> int:
    """The positions of a model whose folder is complete."""
    config = read_config(folder)
    missing = [name for name in _weight_files(folder) if not (folder / name).is_file()]
    if missing:
        raise NotFound(str(folder), f"no {missing[0]} here", "Copy the whole model folder, its weights as safetensors")
    if not _any_of(folder, TOKENIZER_FILES):
        raise NotFound(
            str(folder), "no tokenizer here", f"Add tokenizer.json (looked for {', '.join(TOKENIZER_FILES)})"
        )
    return config.max_positions


def _any_of(folder: Path, names: Iterable[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _weight_files(folder: Path) -> list[str]:
    """One file, or the shards that an index names."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    try:
        return sorted(set(map(str, json.loads(index.read_text("utf-8"))["weight_map"].values())))
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise UserError(str(index), f"is no index of shards: {e!r}", "Copy the whole model folder") from None


def _model(row: RegisteredModelRow) -> RegisteredModel:
    return RegisteredModel(row.name, Path(row.folder), row.max_context)
