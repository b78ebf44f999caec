"""One warm worker process seen from the pool: start it, give it a grading, kill everything it started."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError
from tunesmith.core.types import Score
from tunesmith.grading.answers import Folder
from tunesmith.grading.builtin import GRADERS
from tunesmith.grading.evaluator import BuiltinTarget, ComposedTarget, Evaluator, FileTarget
from tunesmith.grading.processes import held_bytes
from tunesmith.grading.sandbox import Level, Sandboxed, launch, python_folders
from tunesmith.grading.verdict import as_score

MAX_PROCESSES = 32
START_TIMEOUT_S = 60.0
TAIL_BYTES = 10_000
SHARE_FOR_BUILTINS = 0.6
"""Part of the wall time after which a built-in gives up on a completion's code or query and scores it 0."""
_FIRST_LOOK_S, _LOOK_EVERY_S = 0.05, 0.1
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory")

_BOOT = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from tunesmith.grading.worker import main
main()
"""

Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one grading may use."""

    timeout_s: float
    """Wall time, from the moment a worker gets it."""
    memory_mb: int
    """Address space of each process above what Python and the built-ins need."""
    network: bool = False
    """Whether user code may reach the network."""


class WorkerProcess:
    """A running worker. After a failure that `grade` raises itself it is dead, and the pool starts another."""

    def __init__(self, process: Sandboxed, log: IO[bytes]) -> None:
        self.alive = True
        self.served = 0
        self._process, self._log = process, log
        self._around = 0
        """Processes of the sandbox that are not the grader's."""
        self._held = self._memory_bytes = 0
        """Memory of all of them at the start, and what they may hold above that."""

    @classmethod
    async def start(cls, evaluators: Sequence[Evaluator], limits: Limits) -> "WorkerProcess":
        """Start a process and load every evaluator in it.

        Raises:
            UserError: an evaluator cannot be loaded; says why, with the end of the traceback.
        """
        log = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115, lives as long as the worker
        process = await launch(
            (sys.executable, "-P", "-s", "-c", _BOOT, str(Path(__file__).parents[2])),
            readable=[*python_folders(), *(folder for evaluator in evaluators for folder in _readable(evaluator))],
            network=limits.network,
            log=log,
            at=_needed_level(evaluators),
        )
        worker = cls(process, log)
        try:
            await worker._set_up(evaluators, limits)
        except BaseException:
            await worker.stop()
            raise
        return worker

    async def grade(self, request_id: str, request: str, timeout_s: float) -> Score:
        """One request line, one score.

        Raises:
            GradingError: for timeout, crash, memory and processes the worker and all it started are dead.
        """
        self.served += 1
        try:
            reply = await self._exchange(request_id, request, timeout_s)
            if reply.get("label") in ("memory", "processes"):
                raise _failure(reply)
        except BaseException:
            await self.stop()
            raise
        if "label" in reply:
            raise _failure(reply)
        return as_score({key: reply.get(key) for key in ("reward", "parts", "reason")})

    async def stop(self) -> None:
        """Kill the worker and everything it started, and remove its folder."""
        self.alive = False
        await self._process.kill()
        self._log.close()

    async def _set_up(self, evaluators: Sequence[Evaluator], limits: Limits) -> None:
        targets = [_target(evaluator, limits) for evaluator in evaluators]
        self._send(json.dumps({"targets": targets, "memory_mb": limits.memory_mb}))
        where = "evaluator " + ", ".join(target["where"] for target in targets)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                reply = _parsed(await self._line())
        except TimeoutError:
            mend = "Move slow work from import time into the function"
            raise UserError(where, f"did not finish importing within {START_TIMEOUT_S:g} s", mend) from None
        if reply is None:
            await self._process.wait()
            detail = f"its process died while importing: {self._death()}"
            raise UserError(where, detail, "Run the file with python to see why, or raise grader_memory_mb")
        if "failed" in reply:
            raise _load_error(reply)
        members = self._process.members()
        self._around, self._held, self._memory_bytes = len(members) - 1, held_bytes(members), limits.memory_mb << 20

    async def _exchange(self, request_id: str, request: str, timeout_s: float) -> Reply:
        self._send(request)
        line = await self._watched(timeout_s)
        reply = _parsed(line)
        if reply is None and not line:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._process.wait()
            death = self._death()
            label = "memory" if any(sign in death for sign in _OUT_OF_MEMORY) else "crash"
            raise GradingError(label, f"the grader's process died: {death}")
        if reply is None or reply.get("id") != request_id:
            raise GradingError("crash", "the grader wrote on the descriptor that its answers go through")
        if reply.get("children"):
            self._count()
        return reply

    async def _watched(self, timeout_s: float) -> bytes:
        """The next line, with a look at the number of processes now and then, and at the clock."""
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + timeout_s, _FIRST_LOOK_S
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, clock() + pause)):
                    return await self._line()
            except TimeoutError:
                if clock() >= deadline:
                    raise GradingError("timeout", f"no answer within {timeout_s:g} s{self._said()}") from None
            self._count()
            pause = _LOOK_EVERY_S

    async def _line(self) -> bytes:
        """The next line; empty at the end or when there is no end of line in sight."""
        assert self._process.stdout is not None, "started with a pipe"
        try:
            return await self._process.stdout.readline()
        except ValueError:
            return b"?"

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None, "started with a pipe"
        self._process.stdin.write(f"{line}\n".encode())

    def _count(self) -> None:
        """Refuse too many processes, and too much memory in several: in one the kernel does."""
        members = self._process.members()
        running = len(members) - self._around
        if running > MAX_PROCESSES:
            raise GradingError("processes", f"{running} processes; a grader may have {MAX_PROCESSES}")
        if running > 1 and held_bytes(members) - self._held > self._memory_bytes:
            raise GradingError("memory", f"{running} processes hold more than {self._memory_bytes >> 20} MB together")

    def _death(self) -> str:
        code = self._process.returncode
        how = "its descriptors are closed" if code is None else f"exit status {code}"
        return f"{f'killed by {signal.Signals(-code).name}' if code is not None and code < 0 else how}{self._said()}"

    def _said(self) -> str:
        """The end of what the grader printed, for a message."""
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace").strip()
        return f"; it had printed: {tail}" if tail else ""


def _readable(evaluator: Evaluator) -> list[Path]:
    """What a grader sees of this machine's files beside Python: its own folder, and folders that a setting names.

    A file in your home folder itself, or in a folder such as /tmp, sees none of its neighbours.
    """
    target = evaluator.target
    if isinstance(target, BuiltinTarget):
        kinds = GRADERS[target.name].arguments()
        return [Path(value) for name, value in target.arguments.items() if kinds[name] is Folder]
    if not isinstance(target, FileTarget):
        return []
    folder = target.path.parent
    broad = folder == Path.home() or len(folder.parts) <= 2
    return [] if broad else [folder]


def _needed_level(evaluators: Sequence[Evaluator]) -> Level | None:
    """None for the level in use; built-ins that open the files a row names, and run no code, need limits alone."""
    targets = [evaluator.target for evaluator in evaluators]
    ours = all(isinstance(target, BuiltinTarget) and GRADERS[target.name].opens_files for target in targets)
    return "limits" if ours else None


def _target(evaluator: Evaluator, limits: Limits) -> dict[str, Any]:
    """How the worker finds the grader."""
    target = evaluator.target
    if isinstance(target, BuiltinTarget):
        timed = "budget_s" in GRADERS[target.name].injected
        budget = {"budget_s": limits.timeout_s * SHARE_FOR_BUILTINS} if timed else {}
        return {"where": target.name, "name": target.name, "arguments": {**target.arguments, **budget}}
    if isinstance(target, ComposedTarget):
        return {"where": evaluator.name, "composed": target.grader}
    assert isinstance(target, FileTarget), "recorded scores need no worker"
    where = f"{target.path.name}::{target.function}"
    return {"where": where, "path": str(target.path), "source": target.source, "function": target.function}


def _failure(reply: Reply) -> GradingError:
    return GradingError(str(reply["label"]), str(reply.get("detail", "")))


def _load_error(reply: Reply) -> UserError:
    where, detail = f"evaluator {reply['failed']}", reply["detail"]
    if reply["missing"]:
        return UserError(where, detail, "Define def grade(completion, row) and name it after the ::")
    lines = "\n".join(detail.splitlines()[-12:])
    mend = "Run the file with python; a grader sees its own folder alone, and no network, environment or other files"
    return UserError(where, f"cannot be imported\n{lines}\n", mend)


def _parsed(line: bytes) -> Reply | None:
    try:
        reply = json.loads(line)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None
