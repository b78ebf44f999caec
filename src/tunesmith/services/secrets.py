"""Secrets of accounts: keys that evaluators and job integrations need. Encrypted at rest; shown to nobody again."""

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrage
from sqlalchemy import LargeBinary, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.store import Base, Store, utc_now

KEY_VARIABLE = "TUNESMITH_SECRETS_KEY"
KEY_FILE = "secrets.key"
MOST_BYTES = 64 << 10
"""Of a value."""
_KEY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?")


class SecretRow(Base):
    """One secret of an owner."""

    __tablename__ = "secrets"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    key_name: Mapped[str] = mapped_column(String(128))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """The value, encrypted to the server's key."""
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be shown of a secret."""

    id: str
    """The name in lower case with ``-`` for ``_``, unless its maker chose another."""
    key_name: str
    """Of the environment variable that it becomes."""
    created_at: str
    """UTC, RFC 3339."""
    updated_at: str


class Secrets:
    """All secrets of a server; an owner has only its own. Safe from several processes."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        """The key is that of ``TUNESMITH_SECRETS_KEY``, or of a file that is made at first use."""
        self._store, self._file = store, data_dir / KEY_FILE

    def put(self, owner: str, key_name: str, value: str, *, secret_id: str | None = None) -> SecretInfo:
        """Keep a value under a name; an older one of that name is replaced.

        Raises:
            UserError: a name that no environment variable has, or a value that is empty or too long.
            Conflict: the id belongs to a secret of another name.
        """
        _check(key_name, value)
        sealed = pyrage.encrypt(value.encode(), [self._identity().to_public()])
        with self._store.begin() as db:
            same_name = select(SecretRow).where(SecretRow.owner == owner, SecretRow.key_name == key_name)
            row = db.scalar(same_name.with_for_update())
            if row is None:
                wanted = id_of(key_name) if secret_id is None else secret_id
                if not _ID.fullmatch(wanted):
                    raise UserError("name", f"cannot be {wanted[:80]!r}", "Use a-z, 0-9 and -, without - at the ends")
                if db.get(SecretRow, (owner, wanted)) is not None:
                    raise Conflict(wanted, "is the id of a secret with another name", "Delete that one first")
                row = SecretRow(owner=owner, id=wanted, key_name=key_name, sealed=sealed)
                db.add(row)
            row.sealed, row.updated_at = sealed, utc_now()
            db.flush()
            return _shown(row)

    def get(self, owner: str, key_name: str) -> str:
        """
        Raises:
            NotFound: the owner has no secret of that name.
            UserError: it was encrypted to another key than the server's.
        """
        value = self._open(self._of_owner(owner), only=key_name).get(key_name)
        if value is None:
            raise NotFound(key_name[:128], "no such secret", "Keep it first, with: tunesmith secrets put")
        return value

    def find(self, owner: str, secret_id: str) -> SecretInfo:
        """
        Raises:
            NotFound: the owner has no secret of that id.
        """
        with self._store.read() as db:
            row = db.get(SecretRow, (owner, secret_id)) if _ID.fullmatch(secret_id) else None
        if row is None:
            raise NotFound(secret_id[:128], "no such secret", "List the secrets to see those there are")
        return _shown(row)

    def list(self, owner: str) -> Sequence[SecretInfo]:
        """By name, never with values."""
        return [_shown(row) for row in self._of_owner(owner)]

    def names(self, owner: str) -> Sequence[str]:
        return [row.key_name for row in self._of_owner(owner)]

    def delete(self, owner: str, key_name: str) -> None:
        """
        Raises:
            NotFound: the owner has no secret of that name.
        """
        if key_name not in self.names(owner):
            raise NotFound(key_name[:128], "no such secret", "List the secrets to see those there are")
        with self._store.begin() as db:
            db.execute(delete(SecretRow).where(SecretRow.owner == owner, SecretRow.key_name == key_name))

    def environment(self, owner: str) -> dict[str, str]:
        """All values by name, for the environment of a process that works for the owner."""
        return self._open(self._of_owner(owner))

    def _of_owner(self, owner: str) -> Sequence[SecretRow]:
        with self._store.read() as db:
            return db.scalars(select(SecretRow).where(SecretRow.owner == owner).order_by(SecretRow.key_name)).all()

    def _open(self, rows: Sequence[SecretRow], only: str | None = None) -> dict[str, str]:
        identity = self._identity() if rows else None
        found = {}
        for row in rows:
            if only is not None and row.key_name != only:
                continue
            try:
                found[row.key_name] = pyrage.decrypt(row.sealed, [identity]).decode()
            except pyrage.DecryptError:
                mend = f"Start the server with the {KEY_VARIABLE} or {KEY_FILE} of that time, or set the secret again"
                raise UserError(row.key_name, "was encrypted to another key", mend) from None
        return found

    def _identity(self) -> pyrage.x25519.Identity:
        text = os.environ.get(KEY_VARIABLE) or _key_of(self._file)
        try:
            return pyrage.x25519.Identity.from_str(text.strip())
        except pyrage.IdentityError:
            where = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else str(self._file)
            raise UserError(where, "holds no age key", "Give one that begins with AGE-SECRET-KEY-1") from None


def id_of(key_name: str) -> str:
    """``MY_KEY`` is ``my-key`` in addresses."""
    return key_name.lower().replace("_", "-").strip("-")


def _key_of(file: Path) -> str:
    """The text of the key file, which nobody but the server's user may read; the first to come makes it."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_name(f".{KEY_FILE}-{secrets.token_hex(4)}")
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as f:
            f.write(f"{pyrage.x25519.Identity.generate()}\n")
            f.flush()
            os.fsync(f.fileno())
        try:
            # A link, unlike a renaming, never replaces the key that another process has made meanwhile.
            os.link(made, file)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return file.read_text("utf-8")


def _check(key_name: str, value: str) -> None:
    if not _KEY_NAME.fullmatch(key_name):
        mend = "Use up to 128 letters, digits and _, not beginning with a digit"
        raise UserError("key_name", f"cannot be {key_name[:80]!r}", mend)
    # What is wrong with a value is said without showing it.
    if not value or len(value.encode("utf-8", "surrogatepass")) > MOST_BYTES or "\x00" in value:
        raise UserError(key_name, "has a value that is empty, too long or no text", "Give up to 64 KiB of text")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise UserError(key_name, "has a value that is no Unicode text", "Give text in UTF-8")


def _shown(row: SecretRow) -> SecretInfo:
    return SecretInfo(row.id, row.key_name, row.created_at, row.updated_at)
