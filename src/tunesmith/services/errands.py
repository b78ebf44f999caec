"""Short computations that somebody waits for, each in a process of its own: the server's loop computes nothing.

One at a time; results are kept in memory for a while, for the owner who asked, and for the same question again.
"""

import asyncio
import json
import os
import signal
import subprocess
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from tempfile import TemporaryFile
from typing import IO, Any

from tunesmith.core.errors import NotFound
from tunesmith.services.nursery import Nursery, Program, Started

LONGEST_S = 600.0
KEPT = 50
MOST_BYTES = 4 << 20


@dataclass(slots=True)
class Errand:
    """What was asked for, and what came of it."""

    id: str
    owner: str
    what: str
    """Its line in ``errand_main.ERRANDS``."""
    state: str = "waiting"
    """waiting, running, done or failed."""
    answer: Mapping[str, Any] | None = None
    """Of one that is done."""
    problem: str = ""
    """Of one that failed."""


class Errands:
    """All errands of a server."""

    def __init__(self, nursery: Nursery, longest_s: float = LONGEST_S) -> None:
        self._nursery, self._longest_s = nursery, longest_s
        self._found: OrderedDict[str, Errand] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._salt = token_bytes(16)

    def start(self, owner: str, what: str, given: Mapping[str, Any]) -> str:
        """Begin one of ``errand_main.ERRANDS``; its id, to ask for the answer with.

        What was asked before and has not failed is not computed again.
        """
        question = json.dumps([owner, what, given], sort_keys=True).encode()
        # Keyed, because what is given may hold secrets.
        name = blake2b(question, digest_size=16, key=self._salt).hexdigest()
        there = self._found.get(name)
        if there is not None and there.state != "failed":
            return name
        errand = self._found[name] = Errand(name, owner, what)
        while len(self._found) > KEPT:
            self._found.popitem(last=False)
        task = self._tasks[name] = asyncio.create_task(self._run(errand, json.dumps(given).encode()))
        task.add_done_callback(lambda _: self._tasks.pop(name, None))
        return name

    async def wait(self, owner: str, name: str, seconds: float) -> Errand:
        """The errand once it is done, or as it stands after so long.

        Raises:
            NotFound: as ``get``.
        """
        errand = self.get(owner, name)
        if seconds and (task := self._tasks.get(name)) is not None:
            await asyncio.wait((task,), timeout=seconds)
        return errand

    def get(self, owner: str, name: str) -> Errand:
        """
        Raises:
            NotFound: the owner started none of that id, or the server was restarted since.
        """
        errand = self._found.get(name)
        if errand is None or errand.owner != owner:
            raise NotFound("errand", "is not known here any more", "Start it again")
        return errand

    async def stop(self) -> None:
        """End those that run."""
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, errand: Errand, given: bytes) -> None:
        async with self._turn:
            errand.state = "running"
            with TemporaryFile() as out, TemporaryFile() as said:
                program = Program("tunesmith.services.errand_main", (errand.what,), given, out.fileno(), said.fileno())
                process = self._nursery.start(program)
                try:
                    code = await asyncio.to_thread(process.wait, self._longest_s)
                except subprocess.TimeoutExpired:
                    errand.state, errand.problem = "failed", f"took longer than {self._longest_s:.0f} s and was stopped"
                    return
                finally:
                    _end(process)
                _settle(errand, _all_of(out), _all_of(said), code)


def _end(process: Started) -> None:
    """Graders are processes of their own, in the same group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _settle(errand: Errand, out: bytes, said: bytes, code: int) -> None:
    try:
        answer = json.loads(out)
    except ValueError:
        last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:500]
        errand.state, errand.problem = "failed", f"its process ended with code {code}: {last or 'it said nothing'}"
        return
    errand.answer, errand.problem = answer.get("answer"), answer.get("problem", "")
    errand.state = "failed" if errand.answer is None else "done"
