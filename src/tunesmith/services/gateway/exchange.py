"""One HTTP request and its answer, over a connection that somebody else has made and checked."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import h11

MOST_BYTES = 64 << 20
_CHUNK = 1 << 16
_DROPPED = ("connection", "host", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    kind: str
    """Content type."""
    body: bytes


async def exchange(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Answer:
    """Send a request, read its answer, close the connection. Redirects are answers like others.

    Raises:
        OSError: the connection was lost, or the answer is too long or no HTTP.
    """
    reader, writer = streams
    connection = h11.Connection(h11.CLIENT)
    sent = [(name, value) for name, value in headers.items() if name.lower() not in _DROPPED]
    sent += [("Host", host), ("Content-Length", str(len(body))), ("Connection", "close")]
    try:
        for event in (h11.Request(method=method, target=target, headers=sent), h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _answer(connection, reader)
    except (h11.RemoteProtocolError, h11.LocalProtocolError) as e:
        raise ConnectionError(f"no HTTP: {e}") from None
    finally:
        with suppress(OSError):
            writer.close()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, kind, body = 0, "", bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            found = {name.lower(): value for name, value in event.headers}
            status, kind = event.status_code, found.get(b"content-type", b"").decode("latin-1")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST_BYTES:
                raise ConnectionError(f"an answer of more than {MOST_BYTES >> 20} MiB")
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, kind, bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionError("it hung up before it had answered")
