"""``/uploads``: a file in parts, for those that are large or whose way is long; it becomes a file of ``/files``."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from tunesmith.core.errors import UserError
from tunesmith.server import openapi
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.multipart import read_form
from tunesmith.server.dialects.openai import files
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.openai.fine_tuning_request import Wire
from tunesmith.services.datasets import Datasets
from tunesmith.services.partial_uploads import MOST_PART_BYTES, PartialUpload, PartialUploads

router = new_router()
PART = "part-"
"""Before the key of a part."""
Text = Annotated[str, Field(max_length=200)]


class Begin(Wire):
    """``POST /uploads``."""

    bytes: Annotated[int, Field(ge=1)]
    filename: Text
    mime_type: Text
    """Taken as it is: what is not lines of JSON is refused when the file is complete."""
    purpose: Text


class Complete(Wire):
    """``POST /uploads/{upload_id}/complete``."""

    part_ids: Annotated[list[Text], Field(min_length=1, max_length=10_000)]
    md5: Text | None = None


@router.post("/uploads", response_model=None)
async def begin(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Say what will come; parts can be added for an hour."""
    given = await read_json(request, Begin)
    files.check_purpose(given.purpose)
    asked = {"filename": files.clean(given.filename), "purpose": given.purpose, "mime_type": given.mime_type}
    return _body(request, owner, await asyncio.to_thread(_uploads(request).create, owner, given.bytes, asked))


@router.post("/uploads/{upload_id}/parts", response_model=None, openapi_extra=openapi.form("data"))
async def add_part(request: Request, owner: Owner, upload_id: str) -> Mapping[str, Any]:
    """Take a part of up to 64 MiB. Parts may come side by side and in any order, and again when an answer was lost."""
    arriving = _uploads(request).part(owner, upload_id)
    key, incoming = await asyncio.to_thread(arriving.__enter__)
    try:
        kind = request.headers.get("content-type", "")
        form = await read_form(kind, request.stream(), incoming, MOST_PART_BYTES, part="data")
        if form.filename is None:
            raise UserError("data", "is missing", "Send the bytes as the part named data")
    except BaseException as e:
        await asyncio.to_thread(arriving.__exit__, type(e), e, e.__traceback__)
        raise
    await asyncio.to_thread(arriving.__exit__, None, None, None)
    return {"id": PART + key, "object": "upload.part", "created_at": int(time.time()), "upload_id": upload_id}


@router.post("/uploads/{upload_id}/complete", response_model=None)
async def complete(request: Request, owner: Owner, upload_id: str) -> Mapping[str, Any]:
    """Join parts in the order given, and check the file as ``POST /files`` does; asked again, it answers the same."""
    given = await read_json(request, Complete)
    return await asyncio.to_thread(_complete, request, owner, upload_id, given)


@router.post("/uploads/{upload_id}/cancel", response_model=None)
def cancel(request: Request, owner: Owner, upload_id: str) -> Mapping[str, Any]:
    """Give up an upload that is not complete."""
    return _body(request, owner, _uploads(request).end(owner, upload_id, "cancelled"))


def _complete(request: Request, owner: str, upload_id: str, given: Complete) -> Mapping[str, Any]:
    uploads = _uploads(request)
    upload = uploads.get(owner, upload_id)
    if upload.state == "completed":
        return _body(request, owner, upload)
    pieces: Iterable[bytes] = uploads.joined(owner, upload_id, [i.removeprefix(PART) for i in given.part_ids])
    if given.md5 is not None:
        pieces = _checked(pieces, given.md5)
    # Of the upload's own id, so that two requests at once cannot make two files.
    file_id = upload_id.replace("upload-", "file-", 1)
    files.keep(request, owner, file_id, upload.asked["filename"], upload.asked["purpose"], pieces)
    return _body(request, owner, uploads.end(owner, upload_id, "completed", file_id))


def _checked(pieces: Iterable[bytes], wanted: str) -> Iterator[bytes]:
    """
    Raises:
        UserError: at the end, where they are others than were meant.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != wanted.lower():
        raise UserError("md5", "is not that of these parts in this order", "Name them in order, or send them again")


def _body(request: Request, owner: str, upload: PartialUpload) -> dict[str, Any]:
    datasets: Datasets = request.app.state.datasets
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.num_bytes,
        "created_at": int(upload.created_at.timestamp()),
        "expires_at": int(upload.expires_at.timestamp()),
        "filename": upload.asked["filename"],
        "purpose": upload.asked["purpose"],
        "status": upload.state,
        "file": files.body(datasets.get(owner, upload.result)) if upload.result else None,
    }


def _uploads(request: Request) -> PartialUploads:
    uploads: PartialUploads = request.app.state.partial_uploads
    return uploads
