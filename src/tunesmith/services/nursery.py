"""Processes that are there at once: forked from one that has imported what they need, the nursery.

A job's worker, an engine or an errand computes for a while, and before that imports torch for seconds. The nursery has
it imported. It begins with the first process that is asked for, which is started from nothing like any program; so is
every other until the nursery is ready, where it died, and where the system lacks what it takes.
"""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)
UNTOLD = 1
"""Exit code of a process of whose end nobody told, because the nursery ended before it."""


@dataclass(frozen=True, slots=True)
class Program:
    """A module with a ``main``, started in a session of its own, so that a signal to the server's group spares it."""

    module: str
    arguments: tuple[str, ...] = ()
    """After these come the numbers that ``keeps`` have in the new process."""
    given: bytes = b""
    """What it reads on stdin. Other processes can read arguments and environment, but not this."""
    out: int = 1
    """Open file for what it prints, as for ``err``."""
    err: int = 2
    keeps: tuple[int, ...] = ()
    """Further open files that it is given."""


class Started(Protocol):
    """A process, as much as ``subprocess.Popen`` says of one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            subprocess.TimeoutExpired: it lives still.
        """
        ...


class Nursery:
    """The server's end. Any thread may start processes."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._ready = False
        self._turn = threading.Lock()

    def start(self, program: Program) -> Started:
        """
        Raises:
            OSError: no process can be started.
        """
        reading, writing = os.pipe()
        try:
            started = self._fork(program, reading) or _from_nothing(program, reading)
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        # A program that has to be imported first would keep us waiting where this is more than a pipe holds.
        threading.Thread(target=_give, args=(writing, program.given), name="stdin", daemon=True).start()
        return started

    def ready(self, wait_s: float = 0.0) -> bool:
        """Begin the nursery where there is none; whether it is ready within so long."""
        with self._turn:
            return self._warm(wait_s) is not None

    def close(self) -> None:
        """End the nursery. What it started lives on."""
        with self._turn:
            self._forget()

    def _fork(self, program: Program, stdin: int) -> Started | None:
        """The process; None where it has to be started from nothing."""
        with self._turn:
            line = self._warm()
            if line is None:
                return None
            told, tells = os.pipe()
            request = {"module": program.module, "arguments": program.arguments, "environment": dict(os.environ)}
            files = [tells, stdin, program.out, program.err, *program.keeps]
            try:
                socket.send_fds(line, [json.dumps(request).encode()], files)
                said, handles, _, _ = socket.recv_fds(line, 64, 1)
            except OSError:  # it is gone, or the request was too large for it
                said, handles = b"", []
            finally:
                os.close(tells)
            if not handles:
                os.close(told)
                self._forget()
                return None
            return _Forked(int(said), handles[0], told)

    def _warm(self, wait_s: float = 0.0) -> socket.socket | None:
        """The line to a nursery that is ready; begins one where there is none."""
        if self._line is None and _supported():
            self._line = self._begin()
        if self._line is None:
            return None
        if not self._ready and _readable(self._line.fileno(), wait_s):
            self._ready = bool(self._line.recv(64))
            if not self._ready:
                log.warning("the process that starts others quickly ended; its words are above")
                self._forget()
        return self._line if self._ready else None

    def _begin(self) -> socket.socket:
        return begin("tunesmith.services.nursery_main")

    def _forget(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._ready = None, False


def begin(module: str, folder: Path | None = None) -> socket.socket:
    """Start a module that serves as a nursery; the line to it, at whose end it ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", module, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True, pass_fds=[theirs.fileno()]
        )
    # Somebody has to wait for it, or it stays as a zombie.
    threading.Thread(target=process.wait, name="nursery", daemon=True).start()
    return ours


class _Forked:
    """A process that is the nursery's child."""

    def __init__(self, pid: int, handle: int, told: int) -> None:
        """
        Args:
            handle: a pidfd, readable once the process has ended, whoever its parent is.
            told: where the nursery writes the exit code.
        """
        self.pid, self._handle, self._told = pid, handle, told
        self._code: int | None = None
        self._turn = threading.Lock()
        # Not before the last thread that may wait for it has gone.
        weakref.finalize(self, _close, handle, told)

    def poll(self) -> int | None:
        return self._after(0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._after(timeout)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def _after(self, seconds: float | None) -> int | None:
        if self._code is None and _readable(self._handle, seconds):
            with self._turn:
                if self._code is None:
                    # The nursery sees the end at the same moment, and tells at once or has ended itself.
                    self._code = int(os.read(self._told, 16) or UNTOLD)
        return self._code


def _supported() -> bool:
    """Whether the system has process handles: Linux has, but not in every sandbox that looks like it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def _give(stdin: int, given: bytes) -> None:
    # It may end unread.
    with suppress(BrokenPipeError), os.fdopen(stdin, "wb") as pipe:
        pipe.write(given)


def _readable(file: int, seconds: float | None) -> bool:
    """Whether it is within so long; ``select`` knows no numbers above 1024."""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(None if seconds is None else seconds * 1000))


def _from_nothing(program: Program, stdin: int) -> Started:
    return subprocess.Popen(
        [sys.executable, "-m", program.module, *program.arguments, *map(str, program.keeps)],
        stdin=stdin,
        stdout=program.out,
        stderr=program.err,
        start_new_session=True,
        pass_fds=program.keeps,
    )
