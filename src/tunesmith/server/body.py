"""Request bodies, read by hand: with a limit, decompressed on the way in, never more than the limit in memory."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import zstandard
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.errors import explain, refusal

SLICE_BYTES = 512
"""Compressed bytes decompressed at a time. Four of them can stand for 128 KiB, so a slice gives 16 MiB at most."""
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, limit: int | None = None) -> bytes:
    """The body of a request, decompressed where ``Content-Encoding`` is ``zstd``.

    Args:
        limit: largest size in bytes after decompression; default: the server's own.

    Raises:
        HTTPException: 413 for a body over the limit, before it is read where its length is declared.
        UserError: an unknown encoding, or a body that is damaged or cut off.
    """
    limit = request.app.state.settings.max_body_bytes if limit is None else limit
    assert limit is not None, "settings hold a limit"
    declared = request.headers.get("content-length", "").lstrip("0")
    # Python refuses to read numbers of thousands of digits.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "zstd"):
        raise UserError("content-encoding", f"unknown {encoding[:40]!r}", "Send zstd, or the body as it is")
    parts = _decompressed(request.stream()) if encoding == "zstd" else request.stream()
    whole: list[bytes] = []
    size = 0
    async for part in parts:
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        whole.append(part)
    return b"".join(whole)


async def read_json(request: Request, model: type[Model], limit: int | None = None) -> Model:
    """The body of a request as a model.

    Raises:
        UserError: not JSON, or not what the model says; names the field and what was given.
    """
    body = await read_body(request, limit)
    try:
        return model.model_validate_json(body)
    except ValidationError as e:
        raise explain(e, "body") from None


async def _decompressed(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """One zstd frame, a slice at a time: whoever reads may stop before a small body has become a large one."""
    frame: Any = zstandard.ZstdDecompressor().decompressobj()
    async for chunk in stream:
        for start in range(0, len(chunk), SLICE_BYTES):
            if frame.eof:
                raise UserError("body", "goes on after its zstd frame", "Send one frame")
            try:
                yield frame.decompress(chunk[start : start + SLICE_BYTES])
            except zstandard.ZstdError as e:
                raise UserError("body", f"is not zstd: {e}", "Send what content-encoding says") from None
        if frame.eof and frame.unused_data:
            raise UserError("body", "goes on after its zstd frame", "Send one frame")
    if not frame.eof:
        raise UserError("body", "its zstd frame is cut off", "Send all of it")


def _too_large(limit: int) -> HTTPException:
    mend = "Send less at a time, or start the server with a larger --max-body-mib"
    # The rest of the body is not read, so the connection cannot be used again.
    return refusal(413, UserError("body", f"is larger than {limit} bytes", mend), {"Connection": "close"})
