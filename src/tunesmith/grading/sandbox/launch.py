"""Starting user code: the one way in. It sees and uses what is given here, and nothing else."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from tunesmith.grading.processes import kill_all, members
from tunesmith.grading.sandbox.kernel import ENDED_BY_SIGNAL
from tunesmith.grading.sandbox.levels import Level, level
from tunesmith.grading.sandbox.plan import Limits
from tunesmith.grading.sandbox.prepare import Prepared, Request, prepared

_MAX_LINE_BYTES = 1 << 20


async def launch(
    command: Sequence[str],
    *,
    readable: Sequence[Path] = (),
    work: Path | None = None,
    limits: Limits | None = None,
    sockets: Mapping[int, Path] | None = None,
    network: bool = False,
    environment: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
    at: Level | None = None,
) -> "Sandboxed":
    """Start a command. Use it as ``async with await launch(...) as process``, which kills what is left.

    Args:
        command: a program and its arguments; for our own Python with its packages, ``python_folders()`` is readable.
        readable: files and folders that it sees at their own places, read-only, beside the system's programs.
        work: a folder to write in and to start in; by default an empty one of its own, in memory. It is given to the
            user of the sandbox, with all that lies in it.
        limits: what it may use; ``Limits()`` by default.
        sockets: port -> unix socket outside. Inside, http://localhost:port leads there. The socket is opened to every
            user of this machine, so it belongs in a folder that only we may enter.
        network: give it this machine's network.
        environment: added to a small one of its own; nothing of ours is in it.
        log: a file for its standard error; by default ``stderr`` is a pipe.
        at: a level other than the one in use.

    Raises:
        UserError: this machine has not the level that was demanded.
    """
    limits = limits or Limits()
    request = Request(command, readable, work, limits, sockets, network, environment)
    with prepared(request, await asyncio.to_thread(level) if at is None else at) as start:
        process = await asyncio.create_subprocess_exec(
            *start.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log or asyncio.subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
            pass_fds=(start.descriptor,),
            limit=_MAX_LINE_BYTES,
        )
        return Sandboxed(process, start, limits.wall_s)


class Sandboxed:
    """User code that runs."""

    def __init__(self, process: asyncio.subprocess.Process, start: Prepared, wall_s: float | None) -> None:
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.pid = process.pid
        """Of the outermost process, which lives as long as the command does."""
        self._process, self._user, self._folder = process, start.user, start.folder
        self._timer: asyncio.TimerHandle | None = None
        if wall_s is not None:
            self._timer = asyncio.get_running_loop().call_later(wall_s, kill_all, self.pid, self._user)

    async def __aenter__(self) -> "Sandboxed":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def returncode(self) -> int | None:
        """Exit status of the command, -N when signal N ended it; None while it runs."""
        code = self._process.returncode
        return ENDED_BY_SIGNAL - code if code is not None and code > ENDED_BY_SIGNAL else code

    async def wait(self) -> int:
        """Until the command ends; its exit status."""
        await self._process.wait()
        code = self.returncode
        assert code is not None, "it has ended"
        return code

    def members(self) -> list[int]:
        """Live processes of the sandbox, those around the command included."""
        return members(self.pid, self._user)

    async def kill(self) -> None:
        """Kill the command and everything it started, and remove what was prepared for it."""
        if self._timer is not None:
            self._timer.cancel()
        kill_all(self.pid, self._user)
        if self._process.returncode is None:
            # Not by its own kill(), which reaps a process that is dead already behind the event loop's back.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()
        if self.stdin is not None:
            self.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    returncode: int
    output: bytes
    """As much of it as its limit allows."""
    errors: bytes
    cut: bool
    """Whether there was more of either."""


async def run(
    command: Sequence[str],
    *,
    given: bytes = b"",
    readable: Sequence[Path] = (),
    work: Path | None = None,
    limits: Limits | None = None,
    sockets: Mapping[int, Path] | None = None,
    network: bool = False,
    environment: Mapping[str, str] | None = None,
    at: Level | None = None,
) -> Outcome:
    """``launch`` a command, give it its input, and wait for its end; past its wall time it is killed: status -9."""
    limits = limits or Limits()
    asked = {"readable": readable, "work": work, "sockets": sockets, "network": network, "environment": environment}
    async with await launch(command, limits=limits, at=at, **asked) as process:  # type: ignore[arg-type]
        assert process.stdin and process.stdout and process.stderr, "all are pipes"
        kept = limits.output_bytes
        output, errors, _ = await asyncio.gather(
            _first(process.stdout, kept), _first(process.stderr, kept), _give(process.stdin, given)
        )
        code = await process.wait()
    return Outcome(code, output[:kept], errors[:kept], max(len(output), len(errors)) > kept)


async def _first(stream: asyncio.StreamReader, size: int) -> bytes:
    """The first bytes of a stream that is read to its end; one more than the size where there are more."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: size + 1 - len(kept)]
    return bytes(kept)


async def _give(stream: asyncio.StreamWriter, given: bytes) -> None:
    with suppress(OSError):
        stream.write(given)
        await stream.drain()
        stream.close()
