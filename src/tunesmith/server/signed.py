"""Uploads to a signed address: good for a day, written without a key, each for one file of one thing of one owner.

The address holds all that the upload needs to know; whoever asked for it with a good key may hand it on.
"""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from hmac import compare_digest
from time import time
from typing import Any, Protocol

from fastapi import Request

from tunesmith.core.errors import UserError
from tunesmith.server import openapi
from tunesmith.server.errors import refusal
from tunesmith.server.files import expiry, secret_of, sign
from tunesmith.server.routing import Router

router = Router()


class Sink(Protocol):
    """What takes an upload, piece by piece."""

    def write(self, data: bytes) -> None: ...


Receiver = Callable[[str, str, str], AbstractContextManager[Sink]]
"""(owner, id, file name) -> a place for the bytes; leaving the block keeps them."""


def upload_link(request: Request, kind: str, owner: str, name: str, filename: str, num_bytes: int | None = None) -> str:
    """An address to PUT one file to.

    Args:
        kind: a key of ``app.state.receivers``.
        num_bytes: size that the file must have.
    """
    told = urlsafe_b64encode(json.dumps([kind, owner, name, filename, num_bytes]).encode()).decode().rstrip("=")
    until = expiry()
    signed = sign(secret_of(request), f"PUT:{told}", until)
    return f"{str(request.base_url).rstrip('/')}/tunesmith/v1/uploads/{until}/{signed}/{told}"


@router.put("/tunesmith/v1/uploads/{until}/{signed}/{told}", openapi_extra=openapi.BYTES)
async def put_file(request: Request, until: int, signed: str, told: str) -> dict[str, Any]:
    """Take the file; a second upload replaces the first."""
    wanted = sign(secret_of(request), f"PUT:{told}", until)
    if not compare_digest(wanted.encode(), signed.encode()) or until < time():
        expired = UserError("address", "is not signed by this server, or is too old", "Ask for the address again")
        raise refusal(403, expired)
    kind, owner, name, filename, num_bytes = json.loads(urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    receiver: Receiver = request.app.state.receivers[kind]
    place = receiver(owner, name, filename)
    sink = await asyncio.to_thread(place.__enter__)
    try:
        arrived = 0
        async for piece in request.stream():
            arrived += len(piece)
            if num_bytes is not None and arrived > num_bytes:
                break
            await asyncio.to_thread(sink.write, piece)
        if num_bytes not in (None, arrived):
            raise UserError(filename, f"is not of the {num_bytes} bytes that were announced", "Ask for another address")
    except BaseException as e:
        await asyncio.to_thread(place.__exit__, type(e), e, e.__traceback__)
        raise
    await asyncio.to_thread(place.__exit__, None, None, None)
    return {}
