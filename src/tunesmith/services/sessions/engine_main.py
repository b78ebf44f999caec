"""The engine process: reads calls from a socket, lets the workbench carry them out, writes back what they came to.

Run as ``python -m tunesmith.services.sessions.engine_main FD FOLDER`` by ``engine.Engine``, which is at the other end.
"""

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
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
        "save_adapter",
        "publish",
        "sample",
        "drop_weights",
        "park_weights",
    }
)


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
    running: dict[int, asyncio.Task[None]] = {}
    while (message := await receive(reader)) is not None:
        number, verb, arguments = message
        if verb == "cancel":
            if number in running:
                running[number].cancel()
            continue
        running[number] = asyncio.create_task(_answer(bench, writer, number, verb, arguments))
        running[number].add_done_callback(partial(_forget, running, number))


def _forget(running: dict[int, asyncio.Task[None]], number: int, _done: asyncio.Task[None]) -> None:
    running.pop(number, None)


async def _answer(
    bench: Workbench, writer: asyncio.StreamWriter, number: int, verb: str, given: dict[str, Any]
) -> None:
    try:
        if verb not in VERBS:
            raise UserError(verb, "is no verb of the engine", f"Known: {', '.join(sorted(VERBS))}")
        result = await getattr(bench, verb)(**given)
    except UserError as e:
        result = Failed(str(e), "user")
    except Exception as e:
        logging.getLogger(__name__).exception("%s failed", verb)
        result = Failed(f"{verb} failed in the engine ({type(e).__name__}); the server's log says more", "server")
    send(writer, (number, result))
    await writer.drain()


def main() -> None:
    """Interrupts are for the server, which then closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s engine %(levelname)s %(message)s")
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
