"""Worker processes on this machine: started, found again after a restart of the server, and ended with all they began.

A worker holds a lock on a file in its job's folder, with its process id in it, from its first moment to its last: the
server takes the lock and hands it over. So a look at the lock tells whether one lives, the id in a held lock is never
another program's, and two never work on one job.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tunesmith.services.jobs.folders import Folders
from tunesmith.services.nursery import Nursery, Program, Started
from tunesmith.services.outside import Server

LOCK = "worker.lock"
LOG = "worker.log"
STOPPED = 75
"""Exit code of a worker that was told to stop."""
EXIT_S = 10.0
"""How long a process may take to end once its work is done."""


class Workers:
    """The workers of one data directory."""

    def __init__(
        self,
        folders: Folders,
        data_dir: Path,
        database_url: str,
        nursery: Nursery,
        server: Server | None = None,
    ) -> None:
        self._folders, self._data_dir, self._database_url = folders, data_dir, database_url
        self._server, self._nursery = server or Server(), nursery
        self._children: dict[str, Started] = {}

    def start(self, job_id: str, fence: int) -> None:
        """Start a process for a claim, in a group of its own, so that it outlives a server that is killed.

        Raises:
            OSError: no process can be started; BlockingIOError where one lives already.
        """
        folder = self._folders.of(job_id)
        folder.mkdir(parents=True, exist_ok=True)
        if (before := self._children.pop(job_id, None)) is not None:
            _wait(before)
        with (folder / LOCK).open("a+") as lock, (folder / LOG).open("ab") as said:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            self._children[job_id] = self._nursery.start(
                Program(
                    "tunesmith.services.jobs.worker_main",
                    (job_id, str(fence), str(self._data_dir)),
                    # The database's URL may hold a password.
                    given=f"{self._database_url}\n{self._server.as_line()}\n".encode(),
                    out=said.fileno(),
                    err=said.fileno(),
                    keeps=(lock.fileno(),),
                )
            )

    def lives(self, job_id: str) -> bool:
        return self.pid(job_id) is not None

    def pid(self, job_id: str) -> int | None:
        """Process id of the worker that lives; 0 where another server's is about to tell, None where there is none."""
        child = self._children.get(job_id)
        own = child is not None and child.poll() is None
        return child.pid if child is not None and own else _holder(self._folders.of(job_id))

    def farewell(self, job_id: str) -> int | None:
        """Exit code of a worker that this server started and that has ended, negative for a signal; told once."""
        child = self._children.pop(job_id, None)
        return None if child is None else child.poll()

    def reap(self, others: Collection[str]) -> None:
        """Forget those that have ended, except of these jobs."""
        for job_id, child in list(self._children.items()):
            if job_id not in others and child.poll() is not None:
                del self._children[job_id]

    def signal(self, job_id: str, number: signal.Signals) -> None:
        """Send a signal to a worker and, where it has to end at once, to all that it began in its group."""
        pid = self.pid(job_id)
        if not pid:  # 0 would be our own group
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

    def close(self) -> None:
        """Wait for those that this server started; their jobs have ended, or they were killed."""
        for child in self._children.values():
            _wait(child)
        self._children.clear()

    def wait(self, job_ids: list[str], seconds: float) -> list[str]:
        """Those that live still after so long."""
        deadline = time.monotonic() + seconds
        while (living := [job_id for job_id in job_ids if self.lives(job_id)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return living


def take_over(lock: int) -> None:
    """Be the worker that this open lock stands for; it is held until the process ends, however it ends."""
    # What a worker starts may outlive it, and must not hold its place.
    os.set_inheritable(lock, False)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def _wait(child: Started) -> None:
    """Until a process that has nothing left to do has ended; one that does not is killed."""
    try:
        child.wait(EXIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _holder(folder: Path) -> int | None:
    """Process id of the worker that lives; 0 where it is about to write it, None where there is none."""
    try:
        lock = (folder / LOCK).open("r")
    except (FileNotFoundError, NotADirectoryError):
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read().strip() or 0)
        return None
