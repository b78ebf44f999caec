"""Files by a signed address: good for a day, readable without a key, in pieces (Range) where a client asks so."""

import asyncio
import hashlib
import hmac
from pathlib import Path
from time import time

from fastapi import Request
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.errors import detail, refusal
from tunesmith.server.routing import Router
from tunesmith.services.key_files import secret_in

router = Router()
GOOD_FOR_SECONDS = 24 * 3600


class StoredFile(FileResponse):
    """A file that another request may delete just now: 404 then, as a moment later."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await asyncio.to_thread(Path(self.path).is_file):
            await super().__call__(scope, receive, send)
        else:
            await detail(404, "file: was deleted meanwhile. Look what there is")(scope, receive, send)


def expiry() -> int:
    """Until when an address made now is good, seconds since 1970."""
    return int(time()) + GOOD_FOR_SECONDS


def link(request: Request, file: Path) -> str:
    """An address of a file below the data directory."""
    folder = request.app.state.settings.data_dir.resolve()
    relative = file.resolve().relative_to(folder).as_posix()
    until = expiry()
    signature = sign(secret_of(request), relative, until)
    return f"{str(request.base_url).rstrip('/')}/tunesmith/v1/files/{until}/{signature}/{relative}"


@router.get("/tunesmith/v1/files/{until}/{signature}/{relative:path}")
async def get_file(request: Request, until: int, signature: str, relative: str) -> FileResponse:
    """One file, whole or in part."""
    folder = request.app.state.settings.data_dir.resolve()
    wanted = sign(secret_of(request), relative, until)
    if not hmac.compare_digest(wanted.encode(), signature.encode()) or until < time():
        expired = UserError("address", "is not signed by this server, or is too old", "Ask for the addresses again")
        raise refusal(403, expired)
    file = (folder / relative).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise NotFound(relative, "no such file", "Ask for the addresses again")
    return StoredFile(file)


def sign(secret: bytes, signed: str, until: int) -> str:
    """Of a text, good until a time in seconds since 1970."""
    return hmac.new(secret, f"{until}:{signed}".encode(), hashlib.sha256).hexdigest()


def secret_of(request: Request) -> bytes:
    """Made at first use; who has it can read every file, so nobody but the server's user may."""
    folder: Path = request.app.state.settings.data_dir
    return secret_in(folder / "links.key")
