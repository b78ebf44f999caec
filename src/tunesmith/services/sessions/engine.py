"""The server's end of one engine process: starts it when it is first needed and carries calls to it."""

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from tunesmith.core.types import NewToken, OnToken
from tunesmith.services.nursery import Nursery, Program, Started
from tunesmith.services.sessions.results import Failed, Result
from tunesmith.services.sessions.turns import Turns
from tunesmith.services.sessions.wire import receive, send

STOP_SECONDS = 10.0


class Engine:
    """One base model in a process of its own. When the process dies, running calls fail and the next starts another."""

    def __init__(self, base_model: str, folder: Path, nursery: Nursery) -> None:
        self.base_model, self.folder, self._nursery = base_model, folder, nursery
        self.turns = Turns()
        self.losses = 0
        """How often the process died by itself; policies it held are gone."""
        self.fallen = False
        """Whether it died by itself and no other was started yet."""
        self._process: Started | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._rising: asyncio.Task[Failed | None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listeners: dict[int, OnToken] = {}
        self._last_used = monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last call; 0 while one runs or the process is not there."""
        return 0.0 if self._waiting or self._writer is None else monotonic() - self._last_used

    @property
    def pid(self) -> int | None:
        return None if self._writer is None or self._process is None else self._process.pid

    async def call(self, verb: str, **arguments: Any) -> Result:
        """Carry out one verb of the workbench. Failures come back as ``Failed``, never as exceptions."""
        return await self.call_telling(verb, None, arguments)

    async def call_telling(self, verb: str, on_token: OnToken | None, arguments: dict[str, Any]) -> Result:
        """``call``, for verbs that draw tokens.

        Args:
            on_token: hears of tokens as the other process draws them, all before the result.
        """
        failed = await self._present()
        if failed is not None:
            return failed
        number, writer = next(self._numbers), self._writer
        if writer is None:
            return self._lost()
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        if on_token is not None:
            self._listeners[number] = on_token
        send(writer, (number, verb, arguments, on_token is not None))
        try:
            await writer.drain()
            result: Result = await answer
            return result
        except ConnectionError:
            return self._lost()
        except asyncio.CancelledError:
            if self._writer is writer:
                send(writer, (number, "cancel", {}, False))
            raise
        finally:
            self._waiting.pop(number, None)
            self._listeners.pop(number, None)
            self._last_used = monotonic()

    def rise(self) -> None:
        """Start the process where it isn't there, without waiting for it."""
        if self._rising is None or self._rising.done():
            self._rising = asyncio.create_task(self._present())

    async def stop(self) -> None:
        """Close the socket, at which the process ends."""
        if self._rising is not None:
            await asyncio.wait([self._rising])
        process, writer, self._writer = self._process, self._writer, None
        if writer is None or process is None:
            return
        if self._reading is not None:
            self._reading.cancel()
        writer.close()
        await _ended(process)

    async def _present(self) -> Failed | None:
        """Return when the process is there, or why it can't be."""
        async with self._starting:
            return await self._start() if self._writer is None else None

    async def _start(self) -> Failed | None:
        ours, theirs = socket.socketpair()
        program = Program("tunesmith.services.sessions.engine_main", (str(self.folder),), keeps=(theirs.fileno(),))
        with theirs:
            self._process = self._nursery.start(program)
        reader, writer = await asyncio.open_connection(sock=ours)
        ready = await receive(reader)
        if ready is None or ready[1] is not None:
            writer.close()
            await _ended(self._process)
            return self._lost() if ready is None else ready[1]
        self._writer, self.fallen = writer, False
        self._reading = asyncio.create_task(self._read(reader, writer, self._process))
        return None

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: Started) -> None:
        while (message := await receive(reader)) is not None:
            number, result = message
            if number is None:
                self._tell(result)
            elif (answer := self._waiting.get(number)) is not None and not answer.done():
                answer.set_result(result)
        self._writer, self.fallen = None, True
        self.losses += 1
        writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(self._lost())
        await _ended(process)

    def _tell(self, news: list[tuple[Any, ...]]) -> None:
        for number, *values in news:
            if (listener := self._listeners.get(number)) is not None:
                listener(NewToken(*values))

    def _lost(self) -> Failed:
        problem = f"the engine process of {self.base_model} ended while it worked (out of memory?)"
        return Failed(f"{problem}; models it held are gone. Create them again from their last checkpoint", "server")


async def _ended(process: Started) -> None:
    """Until a process whose socket is closed has ended; one that does not is killed."""
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
