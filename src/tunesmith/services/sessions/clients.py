"""Who is connected: sessions that begin with a call, live by heartbeats, and end with a goodbye or in silence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from time import monotonic
from typing import Any

from sqlalchemy import func, select, update

from tunesmith.core.errors import Denied, NotFound
from tunesmith.services.sessions.rows import ModelRow, SamplerRow, SessionRow, now
from tunesmith.services.store import Store

SILENCE_SECONDS = 300.0
"""Without a heartbeat for so long a client is lost: its models leave memory for the disk. Clients send one every 10."""
LOST = "lost"
AT_ONCE = 1000
"""Ids in a statement; databases take no more than some ten thousand."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a client says of itself when it begins."""

    sdk_version: str = ""
    tags: list[str] = field(default_factory=list)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    display_name: str | None = None
    project_id: str | None = None


class Clients:
    """All sessions, by id."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.read() as db:  # clients of an earlier server, which may not have noticed that it was away
            open_still = db.execute(select(SessionRow.id, SessionRow.owner).where(SessionRow.ended_at.is_(None))).all()
        self._heard = {row.id: monotonic() for row in open_still}
        self._owners = {row.id: row.owner for row in open_still}

    def begin(self, owner: str, said: Introduction, prefix: str = "ses-") -> str:
        """The id of a new session; ids hold neither ':' nor '/'."""
        session_id = f"{prefix}{token_hex(16)}"
        row = SessionRow(
            id=session_id,
            owner=owner,
            tags=said.tags,
            user_metadata=said.user_metadata,
            display_name=said.display_name,
            project_id=said.project_id,
            sdk_version=said.sdk_version,
        )
        with self.store.begin() as db:
            db.add(row)
        self._heard[session_id], self._owners[session_id] = monotonic(), owner
        return session_id

    def heard(self, owner: str, session_id: str) -> bool:
        """A sign of life; a client that was thought lost is back. False when it had said goodbye."""
        if session_id in self._heard and self._owners[session_id] == owner:
            self._heard[session_id] = monotonic()
            return True
        row = self.find(owner, session_id)
        if row.ended_at is not None and row.ending != LOST:
            return False
        with self.store.begin() as db:
            row = db.get_one(SessionRow, session_id)
            row.ended_at = row.ending = None
        self._heard[session_id], self._owners[session_id] = monotonic(), owner
        return True

    def check(self, owner: str, session_id: str) -> None:
        """
        Raises:
            NotFound: no such session, or it is over. Denied: somebody else's.
        """
        if not self.heard(owner, session_id):
            raise NotFound("session_id", f"session {session_id} has ended", "Begin another with create_session")

    def end(self, owner: str, session_id: str, ending: str) -> bool:
        """Close a session; False when it was over already (the first word counts)."""
        row = self.find(owner, session_id)
        self._heard.pop(session_id, None)
        if row.ended_at is not None and row.ending != LOST:
            return False
        with self.store.begin() as db:
            row = db.get_one(SessionRow, session_id)
            row.ended_at, row.ending = now(), ending
        return True

    def silent(self) -> list[str]:
        """Sessions that are lost as of now; each is reported once."""
        at = monotonic()
        # A copy, because sessions begin in threads.
        lost = [s for s, heard in list(self._heard.items()) if at - heard > SILENCE_SECONDS]
        if not lost:
            return []
        # All at once: after a restart it may be a thousand, and everybody waits meanwhile.
        with self.store.begin() as db:
            for first in range(0, len(lost), AT_ONCE):
                those = SessionRow.id.in_(lost[first : first + AT_ONCE])
                db.execute(update(SessionRow).where(those).values(ended_at=now(), ending=LOST))
        for session_id in lost:
            self._heard.pop(session_id, None)
        return lost

    @property
    def connected(self) -> int:
        return len(self._heard)

    def find(self, owner: str, session_id: str) -> SessionRow:
        """
        Raises:
            NotFound: no such session. Denied: somebody else's.
        """
        with self.store.read() as db:
            row = db.get(SessionRow, session_id)
        if row is None:
            raise NotFound("session_id", f"Invalid session_id {session_id!r}", "Begin with create_session")
        if row.owner != owner:
            raise Denied("session_id", "You do not have access to this session", "Use the key it was begun with")
        return row

    def page(self, owner: str, limit: int = 100, offset: int = 0) -> tuple[Sequence[SessionRow], int]:
        """(newest first, how many there are)."""
        newest = select(SessionRow).where(SessionRow.owner == owner).order_by(SessionRow.created_at.desc())
        with self.store.read() as db:
            total = db.scalar(select(func.count()).select_from(SessionRow).where(SessionRow.owner == owner)) or 0
            return db.scalars(newest.limit(limit).offset(offset)).all(), total

    def belongings(self, session_id: str) -> tuple[list[str], list[str]]:
        """(ids of its models, ids of its samplers)."""
        models = select(ModelRow.id).where(ModelRow.session_id == session_id).order_by(ModelRow.created_at)
        samplers = select(SamplerRow.id).where(SamplerRow.session_id == session_id).order_by(SamplerRow.created_at)
        with self.store.read() as db:
            return list(db.scalars(models)), list(db.scalars(samplers))

    def set_project(self, owner: str, session_id: str, project_id: str | None) -> None:
        self.find(owner, session_id)
        with self.store.begin() as db:
            db.get_one(SessionRow, session_id).project_id = project_id
