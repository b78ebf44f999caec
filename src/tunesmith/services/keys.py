"""Keys of clients. Only a hash is stored: a key is shown once, when it is made."""

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Literal, cast, get_args

from sqlalchemy import String, bindparam, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, Session, mapped_column

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.services.store import Base, Store, as_text, utc_now

PREFIX = "tml-"
"""Clients of the Training API refuse keys that begin otherwise."""
SHOWN = len(PREFIX) + 4
Scope = Literal["read", "infer", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may do; each includes those before it."""
MOST_DAYS = 3650
USE_NOTED_EVERY = timedelta(minutes=1)
KNOWN_S = 1.0
"""How long a good key stays good without another look."""
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class KeyRow(Base):
    """One key."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    prefix: Mapped[str]
    created_at: Mapped[str]
    last_used_at: Mapped[str | None]
    revoked_at: Mapped[str | None]
    scope: Mapped[str] = mapped_column(String(8), default="admin")
    expires_at: Mapped[str | None]


_COLUMNS = (KeyRow.owner, KeyRow.scope, KeyRow.expires_at, KeyRow.revoked_at, KeyRow.last_used_at, KeyRow.hash)
_WITH_HASH = select(*_COLUMNS).where(KeyRow.hash == bindparam("hash"))


@dataclass(frozen=True, slots=True)
class Grant:
    """What a good key allows."""

    owner: str
    scope: Scope

    def allows(self, needed: "Scope") -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(needed)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key."""

    id: str
    name: str
    owner: str
    prefix: str
    """Its first characters, to tell keys apart."""
    created_at: str
    """UTC, RFC 3339."""
    last_used_at: str | None
    """UTC, RFC 3339, to the minute; None before the first use."""
    revoked_at: str | None
    """UTC, RFC 3339; None while the key is not revoked."""
    scope: str
    """read, infer, train or admin."""
    expires_at: str | None
    """UTC, RFC 3339; None for a key without an end."""


class Keys:
    """Make, check and revoke keys. Several keys may have one owner, who sees the same models with each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Grant, float]] = {}
        """Checksum of a good key -> (what it allows, until when nobody looks again)."""

    def create(self, owner: str = "default", name: str = "", *, scope: str = "admin", days: float | None = None) -> str:
        """A new key in plain text: ``tml-`` and 43 characters of A-Z, a-z, 0-9, ``-`` and ``_`` (256 random bits).

        Args:
            scope: what it may do, one of ``SCOPES``.
            days: how long it is good; None for ever.

        Raises:
            UserError: an owner of other characters than letters, digits and ``._@+-``, a name over 200 characters, an
                unknown scope, or no days.
        """
        check_owner(owner)
        if scope not in SCOPES:
            raise unknown("scope", scope, SCOPES)
        if days is not None and not 0 < days <= MOST_DAYS:
            raise UserError("days", f"cannot be {days:g}", f"Give more than 0 and at most {MOST_DAYS:,}")
        if len(name) > 200 or not name.isprintable():
            raise UserError("name", "is not one line of up to 200 characters", "Give a shorter one")
        with self._store.begin() as session:
            return _add(session, owner, name, scope, days)

    def create_first(self) -> str | None:
        """A key for the default owner where none was ever made, else None."""
        with self._store.begin() as session:
            if session.scalar(select(func.count()).select_from(KeyRow)):
                return None
            return _add(session, "default", "first")

    def owner_of(self, key: str) -> str | None:
        """Whose key it is, if it is good and may do everything; else None."""
        grant = self.check(key)
        return grant.owner if grant is not None and grant.allows("admin") else None

    def check(self, key: str) -> Grant | None:
        """What a key allows; None for one that was never made, is revoked or has expired.

        Notes the use, once a minute at most. A good key is looked up once a second at most: every request asks, in the
        thread that everybody waits for.
        """
        hashed, now = _hash(key), time.monotonic()
        grant, until = self._known.get(hashed, (None, now))
        if until > now:
            return grant
        grant = self._look_up(hashed)
        if grant is None:
            self._known.pop(hashed, None)
        else:
            self._known[hashed] = (grant, now + KNOWN_S)
        return grant

    def _look_up(self, hashed: str) -> Grant | None:
        found = self._store.rows(_WITH_HASH, hash=hashed)
        if not found:
            return None
        owner, scope, expires, revoked, used, known = found[0]
        if not compare_digest(known, hashed) or revoked is not None or (expires is not None and expires <= utc_now()):
            return None
        now = datetime.now(UTC)
        if used is None or now - datetime.fromisoformat(used) >= USE_NOTED_EVERY:
            # Worth no waiting: the next use notes it.
            with suppress(OperationalError), self._store.begin_at_once() as session:
                session.execute(update(KeyRow).where(KeyRow.hash == hashed).values(last_used_at=utc_now()))
        return Grant(owner, cast("Scope", scope))

    def find(self, key: str) -> KeyInfo | None:
        """What may be shown of a plain key; None when it was never made."""
        with self._store.read() as session:
            row = _row_of(session, key)
            return None if row is None else _shown(row)

    def list(self) -> Sequence[KeyInfo]:
        """All keys, oldest first, revoked ones too."""
        with self._store.read() as session:
            return [_shown(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id))]

    def owners(self) -> set[str]:
        """Everybody who has a key that works."""
        with self._store.begin() as session:
            return set(session.scalars(select(KeyRow.owner).where(KeyRow.revoked_at.is_(None)).distinct()))

    def revoke(self, key_id: str) -> KeyInfo:
        """Refuse a key from its next request on; another process does so within a second.

        A key stays revoked; to revoke it again changes nothing.

        Raises:
            NotFound: no key has this id.
        """
        with self._store.begin() as session:
            row = session.get(KeyRow, key_id)
            if row is None:
                raise NotFound("key", f"no key has the id {key_id!r}", "List them with: tunesmith keys list")
            row.revoked_at = row.revoked_at or utc_now()
            shown = _shown(row)
        self._known.clear()
        return shown


def check_owner(owner: str) -> None:
    """
    Raises:
        UserError: other characters than letters, digits and ``._@+-``, or more than 64.
    """
    if not _OWNER.fullmatch(owner):
        mend = "Use up to 64 letters, digits and . _ @ + -, beginning with a letter or digit"
        raise UserError("owner", f"cannot be {owner!r}", mend)


def _add(session: Session, owner: str, name: str, scope: str = "admin", days: float | None = None) -> str:
    key = PREFIX + secrets.token_urlsafe(32)
    ends = None if days is None else as_text(datetime.now(UTC) + timedelta(days=days))
    session.add(
        KeyRow(
            id=f"key-{secrets.token_hex(4)}",
            owner=owner,
            name=name,
            hash=_hash(key),
            prefix=key[:SHOWN],
            created_at=utc_now(),
            scope=scope,
            expires_at=ends,
        )
    )
    return key


def _row_of(session: Session, key: str) -> KeyRow | None:
    return session.scalar(select(KeyRow).where(KeyRow.hash == _hash(key)))


def _hash(key: str) -> str:
    """Plain SHA-256: a slow hash protects words that people choose, and 256 random bits cannot be guessed anyway."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _shown(row: KeyRow) -> KeyInfo:
    return KeyInfo(**{field.name: getattr(row, field.name) for field in fields(KeyInfo)})
