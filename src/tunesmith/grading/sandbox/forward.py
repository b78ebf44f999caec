"""Joins ports on localhost, where user code can reach them, to unix sockets that lead out."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

_CHUNK = 1 << 16


def serve(listeners: dict[socket.socket, str]) -> None:
    """Forward every connection until the process is killed."""
    asyncio.run(_serve(listeners))


async def _serve(listeners: dict[socket.socket, str]) -> None:
    for listener, path in listeners.items():
        await asyncio.start_server(_joined_to(path), sock=listener)
    await asyncio.Event().wait()


def _joined_to(path: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        far_writer.close()
        writer.close()

    return join


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end, which is passed on."""
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
