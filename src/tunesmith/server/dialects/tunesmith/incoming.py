"""Files that are the body of a request: written as they arrive, compared with a checksum, kept whole or not at all."""

import asyncio
import base64
import hashlib
import re
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import Header, Request

from tunesmith.core.errors import UserError
from tunesmith.services.uploads import Incoming

Digest = Annotated[str | None, Header(alias="content-digest", description="`sha-256=:<base64>:`; checked if given.")]
_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")


def sha256_of(header: str | None) -> bytes | None:
    """
    Raises:
        UserError: a checksum that cannot be read.
    """
    if header is None:
        return None
    found = _SHA256.fullmatch(header.strip())
    if found is None:
        raise UserError("content-digest", f"cannot be {header[:80]!r}", "Send sha-256=:<base64>:, or leave it out")
    return base64.b64decode(found[1])


async def receive(request: Request, upload: AbstractContextManager[Incoming], wanted: bytes | None) -> None:
    """Take the body as the file of an upload. Its begin and its end wait for the disk, and hold up nobody.

    Raises:
        UserError: another file arrived than was sent, or a larger one than may be; nothing of it is kept.
    """
    incoming, digest = await asyncio.to_thread(upload.__enter__), hashlib.sha256()
    try:
        async for piece in request.stream():
            digest.update(piece)
            incoming.write(piece)
        if wanted is not None and wanted != digest.digest():
            raise UserError("content-digest", "is not that of the file that arrived", "Send it again")
    except BaseException as e:
        await asyncio.to_thread(upload.__exit__, type(e), e, e.__traceback__)
        raise
    await asyncio.to_thread(upload.__exit__, None, None, None)


def file_body(kind: str) -> dict[str, object]:
    """The description of a body that is a file."""
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
