"""One sandbox that runs a project, seen from outside: start it, send it attempts, end it with all it started."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import IO, Any

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError
from tunesmith.grading.projects import guest as program
from tunesmith.grading.projects.manifest import Project
from tunesmith.grading.sandbox import Limits, Sandboxed, launch, python_folders

START_S = 120.0
TAIL_BYTES = 10_000
MEMORY_MB = 4096
"""Address space that Python, eval-protocol and what they import need before an attempt begins."""
LIMITS = Limits(processes=256, scratch_mb=1024)
Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a project's process is given."""

    memory_mb: int = 2048
    """Above what loading it needs."""
    scoring_s: float = 10.0
    """Wall time of one call of the scoring function."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the owner's; ours win over them."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Where the policy answers."""
    sockets: Mapping[int, Path] = field(default_factory=dict)
    """Port -> unix socket outside, which http://localhost:port leads to."""
    network: bool = False


class Died(Exception):
    """The process is gone; says how it went."""


class Guest:
    """A process that has loaded a project."""

    def __init__(self, process: Sandboxed, log: IO[bytes]) -> None:
        self.traits: dict[str, Any] = {}
        self.scoring: tuple[str, float] | None = None
        """The request whose scoring function holds the process up, and since when."""
        self._process, self._log = process, log
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, project: Project, given: Surroundings, serve: bool = True) -> "Guest":
        """Start the project's Python in a sandbox and load the entry point.

        Raises:
            UserError: it cannot be loaded; the end of the traceback names the line.
        """
        log = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115, lives as long as the process
        process = await launch(
            [str(project.python), "-P", "-s", program.__file__],
            readable=[project.root, *_PROGRAM, *python_folders(str(project.python))],
            limits=replace(LIMITS, memory_mb=MEMORY_MB + given.memory_mb),
            sockets=given.sockets,
            network=given.network,
            environment={**given.secrets, **_ENVIRONMENT, **given.environment, "PATH": _path(project)},
            log=log,
        )
        guest = cls(process, log)
        try:
            await guest._set_up(project, given, serve)
        except BaseException:
            await guest.stop()
            raise
        return guest

    @property
    def alive(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def ask(self, name: str, attempts: list[dict[str, Any]]) -> list[Reply]:
        """Send attempts under a name that nobody can guess; one result each.

        Raises:
            Died: the process ended before it answered.
        """
        future = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            if not self.alive:
                raise Died(self._death())
            self._send({"id": name, "attempts": attempts})
            reply = await future
        finally:
            self._waiting.pop(name, None)
        results = reply.get("results")
        if not isinstance(results, list) or len(results) != len(attempts):
            raise GradingError("crash", "the project wrote on the descriptor that its answers go through")
        return results

    def cancel(self, name: str) -> None:
        """Ask for a request to be given up."""
        self._send({"cancel": name})

    async def stop(self) -> None:
        """Kill the process and everything it started."""
        await self._process.kill()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        if not self._log.closed:
            self._log.close()

    def said(self) -> str:
        """The end of what the project printed."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace").strip()

    async def _set_up(self, project: Project, given: Surroundings, serve: bool) -> None:
        entry = project.entry
        asked = {"root": str(project.root), "file": entry.file, "function": entry.function}
        self._send({**asked, "serve": serve, "scoring_s": given.scoring_s})
        where = f"{entry.file}::{entry.function}"
        try:
            async with asyncio.timeout(START_S):
                line = await self._line()
        except TimeoutError:
            mend = "Move slow work from import time into the function"
            raise UserError(where, f"did not finish importing within {START_S:g} s", mend) from None
        reply = _parsed(line)
        if reply is None:
            await self._process.wait()
            raise UserError(where, f"its process died while importing: {self._death()}", "Import the file to see why")
        if "failed" in reply:
            mend = "Mend the project, or its requirements.txt, and upload it again"
            raise UserError(where, f"cannot be used\n{reply['failed']}\n", mend)
        self.traits = reply["traits"]
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Hand every answer to whoever waits for it, until there are no more."""
        while line := await self._line():
            reply = _parsed(line) or {}
            if "scoring" in reply:
                self.scoring = str(reply["scoring"]), monotonic()
            elif "scored" in reply:
                self.scoring = None
            elif (future := self._waiting.get(str(reply.get("id")))) is not None and not future.done():
                future.set_result(reply)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._process.wait()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Died(self._death()))

    async def _line(self) -> bytes:
        assert self._process.stdout is not None, "started with a pipe"
        try:
            return await self._process.stdout.readline()
        except ValueError:
            return b""

    def _send(self, value: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None, "started with a pipe"
        if not self._process.stdin.is_closing():
            self._process.stdin.write(f"{json.dumps(value)}\n".encode())

    def _death(self) -> str:
        code = self._process.returncode
        how = "its descriptors are closed" if code is None else f"exit status {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        said = "" if self._log.closed else self.said()
        return f"{how}; it had printed: {said}" if said else how


_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_EP_SQLITE_LOG": "1", "EP_NO_UPLOAD": "1"}
"""eval-protocol without its database and its downloads."""


_PROGRAM = (Path(program.__file__), Path(program.__file__).with_name("gym.py"))


def _path(project: Project) -> str:
    """Programs that the project starts: ``python`` is its own."""
    return f"{project.python.parent}{os.pathsep}{os.defpath}"


def _parsed(line: bytes) -> Reply | None:
    try:
        reply = json.loads(line)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None
