"""Objects over the socket between the server and its own engine process: a length, then a pickle.

Pickle never leaves this pair: the socket is an unnamed one that only the two processes hold.
"""

import asyncio
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")


def send(writer: asyncio.StreamWriter, message: Any) -> None:
    body = pickle.dumps(message, protocol=5)
    writer.write(_LENGTH.pack(len(body)))
    writer.write(body)


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next object, or None when the other end is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
