"""The engine process: reads calls from a socket, lets the workbench carry them out, writes back what they came to.

Run as ``python -m tunesmith.services.sessions.engine_main FOLDER FD`` by ``engine.Engine``, which is at the other end.
"""

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.core.types import NewToken
from tunesmith.services.sessions.results import Failed
from tunesmith.services.sessions.wire import receive, send
from tunesmith.services.sessions.workbench import Workbench

VERBS = frozenset(
    {
        "create_policy",
        "load_policy",
        "drop_policy",
        "forward_backward",
        "optim_step",
        "weight_change",
        "save_state",
        "park_policy",
        "save_adapter",
        "publish",
        "sample",
        "drop_weights",
        "park_weights",
    }
)


FIELDS = tuple(field.name for field in fields(NewToken))


class _News:
    """Tokens on their way to who asked for them: those of one step of a batch go out as one message."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._tokens: list[tuple[Any, ...]] = []

    def add(self, number: int, token: NewToken) -> None:
        if not self._tokens:
            asyncio.get_running_loop().call_soon(self.tell)
        # Plain tuples: to unpickle a frozen dataclass takes longer than to draw the token.
        self._tokens.append((number, *(getattr(token, name) for name in FIELDS)))

    def tell(self) -> None:
        if self._tokens:
            send(self.writer, (None, self._tokens))
            self._tokens = []


async def serve(connection: socket.socket, base: Path) -> None:
    """Answer calls until the other end is gone."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        bench = Workbench(base)
    except UserError as e:
        send(writer, (0, Failed(str(e), "user")))
        await writer.drain()
        return
    send(writer, (0, None))
    news = _News(writer)
    running: dict[int, asyncio.Task[None]] = {}
    while (message := await receive(reader)) is not None:
        number, verb, arguments, listening = message
        if verb == "cancel":
            if number in running:
                running[number].cancel()
            continue
        if listening:
            arguments["on_token"] = partial(news.add, number)
        running[number] = asyncio.create_task(_answer(bench, news, number, verb, arguments))
        running[number].add_done_callback(partial(_forget, running, number))


def _forget(running: dict[int, asyncio.Task[None]], number: int, _done: asyncio.Task[None]) -> None:
    running.pop(number, None)


async def _answer(bench: Workbench, news: _News, number: int, verb: str, given: dict[str, Any]) -> None:
    try:
        if verb not in VERBS:
            raise UserError(verb, "is no verb of the engine", f"Known: {', '.join(sorted(VERBS))}")
        result = await getattr(bench, verb)(**given)
    except UserError as e:
        result = Failed(str(e), "user")
    except Exception as e:
        logging.getLogger(__name__).exception("%s failed", verb)
        result = Failed(f"{verb} failed in the engine ({type(e).__name__}); the server's log says more", "server")
    news.tell()
    send(news.writer, (number, result))
    await news.writer.drain()


def main() -> None:
    """Interrupts are for the server, which then closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s engine %(levelname)s %(message)s")
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[2])), Path(sys.argv[1])))


if __name__ == "__main__":
    main()
