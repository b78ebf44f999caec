"""Files that owners send in parts, each again if its connection broke, and join when all have arrived.

Parts lie on disk under the upload's id, in a folder each, whole or not at all. What is not joined within an hour goes.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.records import Record, Records
from tunesmith.services.store import Store
from tunesmith.services.uploads import Incoming, Uploads

MOST_PART_BYTES = 64 << 20
MOST_PENDING = 20
"""Uploads of an owner that wait for parts."""
LASTS_S = 3600.0
COPY_BYTES = 1 << 20
_FILE = "part"
State = Literal["pending", "completed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class PartialUpload:
    """What may be shown of one."""

    id: str
    state: State
    num_bytes: int
    """Of the whole file, as its sender said."""
    asked: Mapping[str, Any]
    """The request in its own wire's words."""
    result: str
    """Id of what was made of it; empty before."""
    created_at: datetime
    expires_at: datetime


class PartialUploads:
    """All of a server; an owner sees only its own."""

    def __init__(self, store: Store, data_dir: Path, most_bytes: int) -> None:
        self._records, self._root = Records(store, "uploads", "upload"), data_dir / "parts"
        self._most_bytes = most_bytes

    def create(self, owner: str, num_bytes: int, asked: Mapping[str, Any]) -> PartialUpload:
        """
        Raises:
            UserError: larger than a file may be, or too many that wait.
        """
        if num_bytes > self._most_bytes:
            problem = f"is more than {self._most_bytes:,}"
            raise UserError("bytes", problem, "Split the file, or raise the server's limit")
        waiting = [one for one in map(_shown, self._records.all(owner)) if self._settled(owner, one).state == "pending"]
        if len(waiting) >= MOST_PENDING:
            raise UserError("uploads", f"{MOST_PENDING} wait for their parts", "Complete or cancel one of them first")
        body = {"state": "pending", "num_bytes": num_bytes, "asked": dict(asked), "result": ""}
        return _shown(self._records.create(owner, f"upload-{token_hex(12)}", body))

    def get(self, owner: str, upload_id: str) -> PartialUpload:
        """
        Raises:
            NotFound: the owner has none of that id.
        """
        return self._settled(owner, _shown(self._records.get(owner, upload_id)))

    @contextmanager
    def part(self, owner: str, upload_id: str) -> Iterator[tuple[str, Incoming]]:
        """(key, file to write to): kept when the block ends, gone when it fails.

        A part may be sent any number of times.

        Raises:
            Conflict: the upload has ended. UserError: much more than the file's size has arrived.
        """
        upload = _pending(self.get(owner, upload_id))
        kept = sum(file.stat().st_size for file in (self._root / upload.id).glob(f"*/{_FILE}"))
        # Twice, because a client whose answer was lost sends a part anew.
        room = 2 * upload.num_bytes + MOST_PART_BYTES - kept
        if room <= 0:
            raise UserError("part", "twice the size of the file has arrived", "Cancel the upload and begin another")
        with self._parts(upload.id, min(MOST_PART_BYTES, room)).arriving(_FILE) as arriving:
            yield arriving

    def joined(self, owner: str, upload_id: str, keys: Sequence[str]) -> Iterator[bytes]:
        """The file of these parts in this order, piece by piece.

        Raises:
            Conflict: the upload has ended. NotFound: no such part. UserError: together they are not the file's size.
        """
        upload = _pending(self.get(owner, upload_id))
        # Names of what is there, so that no key becomes a path; those that still arrive begin with a dot.
        there = {file.parent.name: file for file in (self._root / upload.id).glob(f"[!.]*/{_FILE}")}
        if missing := next((key for key in keys if key not in there), None):
            raise NotFound("part_ids", f"no part {missing[:80]!r} has arrived", "Send it again")
        files = [there[key] for key in keys]
        total = sum(file.stat().st_size for file in files)
        if total != upload.num_bytes:
            problem = f"these parts have {total:,} bytes together, the upload was to have {upload.num_bytes:,}"
            raise UserError("part_ids", problem, "Name every part once, in order")
        return _pieces(files)

    def end(self, owner: str, upload_id: str, state: State, result: str = "") -> PartialUpload:
        """Give back the space of an upload that waits."""
        upload = _pending(self.get(owner, upload_id))
        return self._end(owner, replace(upload, state=state, result=result))

    def sweep(self) -> None:
        """Remove parts that no client can come back for in time. For when nothing is being uploaded."""
        for folder in self._root.glob("*"):
            if folder.stat().st_mtime < datetime.now(UTC).timestamp() - LASTS_S:
                shutil.rmtree(folder, ignore_errors=True)

    def _settled(self, owner: str, upload: PartialUpload) -> PartialUpload:
        """As it is now: time may have ended it."""
        if upload.state == "pending" and upload.expires_at < datetime.now(UTC):
            return self._end(owner, replace(upload, state="expired"))
        return upload

    def _end(self, owner: str, upload: PartialUpload) -> PartialUpload:
        body = {name: getattr(upload, name) for name in ("state", "num_bytes", "asked", "result")}
        ended = _shown(self._records.change(owner, upload.id, body))
        shutil.rmtree(self._root / upload.id, ignore_errors=True)
        return ended

    def _parts(self, upload_id: str, most: int) -> Uploads:
        return Uploads(self._root / upload_id, most, "part")


def _pending(upload: PartialUpload) -> PartialUpload:
    if upload.state != "pending":
        raise Conflict(upload.id, f"is {upload.state}", "Begin another")
    return upload


def _pieces(files: Sequence[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as part:
            while piece := part.read(COPY_BYTES):
                yield piece


def _shown(record: Record) -> PartialUpload:
    begun = datetime.fromisoformat(record.created_at)
    return PartialUpload(record.id, **record.body, created_at=begun, expires_at=begun + timedelta(seconds=LASTS_S))
