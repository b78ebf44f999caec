"""Records that clients keep on the server: named bodies that are shown as they were sent, and that nothing runs by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound
from tunesmith.services.jobs.job import check_name
from tunesmith.services.store import Base, Store, utc_now


class RecordRow(Base):
    """One record of an owner."""

    __tablename__ = "records"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    collection: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept under an id."""

    id: str
    body: Mapping[str, Any]
    created_at: str
    """UTC, RFC 3339."""
    updated_at: str


class Records:
    """The records of one collection, such as ``users``; an owner sees only its own."""

    def __init__(self, store: Store, collection: str, noun: str) -> None:
        """
        Args:
            noun: what one of them is called in refusals.
        """
        self._store, self._collection, self._noun = store, collection, noun

    def create(self, owner: str, record_id: str, body: Mapping[str, Any], *, retry: bool = False) -> Record:
        """
        Args:
            retry: the client says that it sent this before: what is the same already is the answer.

        Raises:
            UserError: an id that cannot be one. Conflict: the id is taken.
        """
        check_name(self._noun, record_id)
        row = RecordRow(owner=owner, collection=self._collection, id=record_id, body=dict(body))
        with self._store.begin() as db:
            there = db.get(RecordRow, (owner, self._collection, record_id))
            if there is not None and retry and there.body == row.body:
                return _shown(there)
            if there is not None:
                raise Conflict(record_id, f"is the id of a {self._noun} already", "Choose another, or delete that one")
            db.add(row)
            db.flush()
            return _shown(row)

    def find(self, owner: str, record_id: str) -> Record | None:
        """None where there is none of that id."""
        with self._store.read() as db:
            row = db.get(RecordRow, (owner, self._collection, record_id)) if record_id.isprintable() else None
        return None if row is None else _shown(row)

    def get(self, owner: str, record_id: str) -> Record:
        """
        Raises:
            NotFound: the owner has none of that id.
        """
        found = self.find(owner, record_id)
        if found is None:
            raise NotFound(record_id[:100], f"no such {self._noun}", "List those there are")
        return found

    def all(self, owner: str) -> Sequence[Record]:
        """Newest first."""
        those = select(RecordRow).where(RecordRow.owner == owner, RecordRow.collection == self._collection)
        with self._store.read() as db:
            return [_shown(row) for row in db.scalars(those.order_by(RecordRow.created_at.desc(), RecordRow.id))]

    def change(self, owner: str, record_id: str, body: Mapping[str, Any]) -> Record:
        self.get(owner, record_id)
        with self._store.begin() as db:
            row = db.get_one(RecordRow, (owner, self._collection, record_id))
            row.body, row.updated_at = dict(body), utc_now()
            return _shown(row)

    def delete(self, owner: str, record_id: str) -> None:
        self.get(owner, record_id)
        with self._store.begin() as db:
            db.delete(db.get_one(RecordRow, (owner, self._collection, record_id)))


def _shown(row: RecordRow) -> Record:
    return Record(row.id, row.body, row.created_at, row.updated_at)
