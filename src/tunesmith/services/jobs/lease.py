"""A worker's hold on its job: beats while it lives, writes only while its number is the newest, ends when it is not."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tunesmith.services.jobs.moves import STOPPED, locked
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.store import Store

BEAT_S = 2.0
GIVE_UP_S = 120.0
"""A worker that cannot reach the database for so long ends; what it has on disk is whole."""
PAUSE_S = 0.5
LOST = 3
"""Exit code of a worker that lost its job."""
Written = TypeVar("Written")
log = logging.getLogger(__name__)


class LeaseLost(BaseException):
    """The job belongs to a newer worker, or is gone. Not an Exception: no step of the job may take it for its own."""


class Lease:
    """One worker's hold on one job."""

    def __init__(self, store: Store, job_id: str, fence: int, give_up_s: float = GIVE_UP_S) -> None:
        self._store, self._job_id, self._fence, self._give_up_s = store, job_id, fence, give_up_s

    def write(self, change: Callable[[Session, JobRow], Written]) -> Written:
        """Change the job's row and what goes with it in one transaction; a database that is away is asked again for a
        while.

        Raises:
            LeaseLost: another worker has the job, or the database stayed away.
        """
        deadline = time.monotonic() + self._give_up_s
        while True:
            try:
                with self._store.begin() as db:
                    row = locked(db, self._job_id)
                    if row is None or row.fence != self._fence:
                        raise LeaseLost(f"{self._job_id}: lost to a newer worker")
                    return change(db, row)
            except OperationalError as e:
                if time.monotonic() > deadline:
                    raise LeaseLost(f"{self._job_id}: the database does not answer: {e.orig}") from None
                time.sleep(PAUSE_S)

    def check(self) -> None:
        """
        Raises:
            LeaseLost: as ``write`` does.
        """
        self.write(lambda _db, _row: None)

    @contextmanager
    def kept(self, beat_s: float = BEAT_S) -> Iterator[None]:
        """Beat in a thread of its own while the block runs.

        Raises:
            LeaseLost: it was lost before the first beat.
        """
        self.write(_beat)
        over = threading.Event()
        thread = threading.Thread(target=self._beating, args=(over, beat_s), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    def _beating(self, over: threading.Event, beat_s: float) -> None:
        told = False
        halt: list[bool] = []

        def beat(db: Session, row: JobRow) -> None:
            _beat(db, row)
            halt[:] = [row.state in STOPPED or row.state == "deleting"]

        while not over.wait(beat_s):
            try:
                self.write(beat)
            except (LeaseLost, Exception) as e:  # without beats this worker must not live on
                log.error("%s", e)
                os._exit(LOST)
            if halt == [True] and not told:
                # The server tells us too; this is for when it died after it had promised to stop the job.
                told = True
                os.kill(os.getpid(), signal.SIGTERM)


def _beat(_: Session, row: JobRow) -> None:
    row.beats += 1
