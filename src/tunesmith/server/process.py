"""The life of the server's process: one per data directory, a port of its own, and a quiet end on SIGTERM or Ctrl-C."""

import errno
import fcntl
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from tunesmith.core.errors import Conflict, UserError
from tunesmith.grading import sandbox
from tunesmith.server.app import create_app
from tunesmith.server.settings import ServerSettings
from tunesmith.services.keys import Keys
from tunesmith.services.logins import Logins

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection, so that none sends into one that is just being closed."""


def run(settings: ServerSettings, ready: Callable[[ServerSettings, Keys, Logins], None]) -> None:
    """Serve until told to stop; returns when requests in hand are answered and the services have stopped.

    Args:
        ready: called once the port is ours and before the first request is answered, with the port that was taken.

    Raises:
        Conflict: another server has the data directory, or something has the port.
        UserError: an address that is not this machine's, or a sandbox that does not work on it.
    """
    # In the environment, because the workers of jobs start user code too.
    os.environ[sandbox.SETTING] = settings.sandbox
    sandbox.level()
    with _only_server_of(settings.data_dir), _listening(settings) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        app = create_app(settings)
        ready(settings, app.state.keys, app.state.logins)
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.stop_s),
        )
        # When it is done, uvicorn raises the signal again that stopped it; without a handler that would kill us.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server = _Server(config, app)
        server.run([listener])
        if not server.started:
            raise SystemExit(1)


class _Server(uvicorn.Server):
    """Tells the app as soon as it stops, so that requests that wait for something come to an end; stops once only."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._stopping = app.state.stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there by now stays; to look through it again and again stops everybody for a third of a second.
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # Another one is at once: the system ends the process, as kill -9 does, which everything here is made for.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


@contextmanager
def _only_server_of(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the hold ends with the process, however it ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not truncated on opening: the line in it is the other server's until the lock is ours.
    with (data_dir / "server.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            mend = "Stop it first, or give another --data-dir"
            raise Conflict(str(data_dir), f"another server (process {holder}) is using it", mend) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def _listening(settings: ServerSettings) -> Iterator[socket.socket]:
    """A socket that is bound and listens already: nobody else can take the port while the services start."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as e:
        raise UserError("host", f"{settings.host!r} is no address: {e}", "Give one, such as 127.0.0.1") from None
    # The protocol is named, because asyncio sends small answers at once only on sockets that say they are TCP.
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                mend = "Give another --port, or stop the program that listens there"
                raise Conflict(where, "the port is in use", mend) from None
            mend = "Give a --host of this machine and a --port that you may use"
            raise UserError(where, f"cannot listen there: {os.strerror(e.errno or 0)}", mend) from None
        yield listener
