"""Names and addresses of files to come, and small things that the resources of this wire share."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.bodies import Wire
from tunesmith.server.dialects.fireworks.managed.filters import path_of
from tunesmith.server.signed import upload_link

PIECE_BYTES = 1 << 20
MOST_FILES = 1000
_FILENAME = re.compile(r"(?!\.)[A-Za-z0-9._ +()@=-]{1,200}")


Bytes = Annotated[int, Field(ge=0, lt=1 << 50)]


class Files(Wire):
    filename_to_size: dict[str, Bytes] = Field(default_factory=dict, max_length=MOST_FILES)
    """Sizes in bytes; they come as text."""


def addresses(
    request: Request, kind: str, owner: str, name: str, filename_to_size: Mapping[str, int]
) -> dict[str, str]:
    """File name -> the address that takes it; each is good for a file of that name and size.

    Raises:
        UserError: a name that is no file's.
    """
    for filename in filename_to_size:
        check_filename(filename)
    return {
        filename: upload_link(request, kind, owner, name, filename, size) for filename, size in filename_to_size.items()
    }


def check_filename(name: str) -> None:
    if not _FILENAME.fullmatch(name):
        mend = "Use letters, digits and . _ - without a dot at the beginning, and no folders"
        raise UserError("filenameToSize", f"{name[:80]!r} is no name of a file", mend)


def masked_update(body: Mapping[str, Any], mask: str) -> dict[str, Any]:
    """The members that an update is about: those of its mask, or all. What it names and nobody sent is cleared."""
    names = [path_of("updateMask", name.strip())[0] for name in mask.split(",") if name.strip() not in ("", "*")]
    return {name: body.get(name) for name in names} if names else dict(body)


def status(problem: str = "") -> dict[str, str]:
    """How a resource is; the code is a word here."""
    return {"code": "INVALID_ARGUMENT" if problem else "OK", "message": problem}


def stamp(at: str) -> float:
    """RFC 3339 as seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()
