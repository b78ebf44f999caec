"""Logins of the web page: a link that works once becomes a session. Only hashes are stored, as with keys."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Denied
from tunesmith.services.store import Base, Store

LINK_GOOD_FOR = timedelta(minutes=10)
SESSION_GOOD_FOR = timedelta(days=14)


class LoginRow(Base):
    """A link that waits to be opened, or a session."""

    __tablename__ = "logins"
    hash: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """link or session."""
    owner: Mapped[str]
    expires_at: Mapped[str]
    """UTC, RFC 3339."""


class Logins:
    """Who is logged in. Sessions outlive the server; ending one takes effect with the next request."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def new_link(self, owner: str = "default") -> str:
        """A token for the address of a link; good for ten minutes, once."""
        return self._add("link", owner, LINK_GOOD_FOR)

    def new_session(self, owner: str) -> str:
        """A token for a cookie. For whoever has shown a good key."""
        return self._add("session", owner, SESSION_GOOD_FOR)

    def open_link(self, token: str) -> str:
        """The session that a link stands for.

        Raises:
            Denied: it was opened before, is too old, or was never made.
        """
        with self._store.begin() as db:
            row = db.get(LoginRow, _hash(token), with_for_update=True)
            good = row is not None and row.kind == "link" and row.expires_at > _in(timedelta())
            if row is not None and row.kind == "link":
                db.delete(row)
        if row is None or not good:
            raise Denied(
                "login link", "was opened before, or is older than ten minutes", "Make one: tunesmith dashboard"
            )
        return self.new_session(row.owner)

    def owner_of(self, session: str) -> str | None:
        """Whose session it is; None for one that has ended."""
        columns = select(LoginRow.kind, LoginRow.owner, LoginRow.expires_at)
        found = self._store.rows(columns.where(LoginRow.hash == _hash(session)))
        good = bool(found) and found[0].kind == "session" and found[0].expires_at > _in(timedelta())
        return found[0].owner if good else None

    def end(self, session: str) -> None:
        with self._store.begin() as db:
            db.execute(delete(LoginRow).where(LoginRow.hash == _hash(session)))

    def _add(self, kind: str, owner: str, good_for: timedelta) -> str:
        token = secrets.token_urlsafe(32)
        with self._store.begin() as db:
            db.execute(delete(LoginRow).where(LoginRow.expires_at < _in(timedelta())))
            db.add(LoginRow(hash=_hash(token), kind=kind, owner=owner, expires_at=_in(good_for)))
        return token


def login_address(base_url: str, token: str) -> str:
    """What a person opens."""
    return f"{base_url.rstrip('/')}/dashboard/login?token={token}"


def _in(time: timedelta) -> str:
    return (datetime.now(UTC) + time).isoformat(timespec="seconds")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
