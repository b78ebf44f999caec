"""Signed addresses: good for a day and for one purpose, without a key; and the files that may be read by them."""

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from time import time
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from tunesmith.core.errors import Denied, NotFound

router = APIRouter()
GOOD_FOR_SECONDS = 24 * 3600
READ = "read"
"""The purpose of reading a file."""


def expiry() -> int:
    """Until when an address made now is good, seconds since 1970."""
    return int(time()) + GOOD_FOR_SECONDS


def link(request: Request, file: Path) -> str:
    """An address at which a file below the data directory can be read, in pieces (Range) where a client asks so."""
    folder = request.app.state.settings.data_dir.resolve()
    return signed(request, READ, "/tunesmith/v1/files", file.resolve().relative_to(folder).as_posix())


def signed(request: Request, purpose: str, root: str, subject: str) -> str:
    """The address ``<root>/<until>/<signature>/<subject>`` on this server.

    Args:
        purpose: what it is good for, a word; an address for one purpose is refused for another.
        subject: a path of printable characters.
    """
    until = expiry()
    signature = _signature(_secret(request), purpose, subject, until)
    return f"{str(request.base_url).rstrip('/')}{root}/{until}/{signature}/{quote(subject)}"


def check_signed(request: Request, purpose: str, subject: str, until: int, signature: str) -> None:
    """
    Raises:
        Denied: the address was not made for this by this server, or it is too old.
    """
    wanted = _signature(_secret(request), purpose, subject, until)
    if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogatepass")) or until < time():
        raise Denied("address", "is not signed by this server, or is too old", "Ask for the addresses again")


@router.get("/tunesmith/v1/files/{until}/{signature}/{relative:path}")
async def get_file(request: Request, until: int, signature: str, relative: str) -> FileResponse:
    """One file, whole or in part."""
    check_signed(request, READ, relative, until, signature)
    folder = request.app.state.settings.data_dir.resolve()
    file = (folder / relative).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise NotFound(relative, "no such file", "Ask for the addresses again")
    return FileResponse(file)


def _signature(secret: bytes, purpose: str, subject: str, until: int) -> str:
    said = f"{until}:{purpose}:{subject}"
    return hmac.new(secret, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _secret(request: Request) -> bytes:
    """Made at first use; who has it can read every file, so nobody but the server's user may."""
    file: Path = request.app.state.settings.data_dir.resolve() / "links.key"
    if not file.is_file():
        temporary = file.with_name(f".{file.name}-{token_bytes(4).hex()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as f:
            f.write(token_bytes(32))
        # Unlike a renaming, a link never replaces the secret that another request has made meanwhile.
        with suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink()
    return file.read_bytes()
