"""Folders as tar, made while they are sent: no copy on the disk, and the same bytes for the same files."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from fastapi.responses import StreamingResponse

PIECE_BYTES = 1 << 20
BLOCK = tarfile.BLOCKSIZE


def tar_response(folder: Path, name: str) -> StreamingResponse:
    """The files of a folder, below a folder of that name in the archive."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    heads = [_head(folder, file, name) for file in files]
    size = sum(len(head) + _padded(file.stat().st_size) for head, file in zip(heads, files, strict=True)) + 2 * BLOCK
    headers = {"content-length": str(size), "content-disposition": f'attachment; filename="{name}.tar"'}
    return StreamingResponse(_archive(files, heads), media_type="application/x-tar", headers=headers)


def _head(folder: Path, file: Path, name: str) -> bytes:
    info = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
    info.size, info.mode = file.stat().st_size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _archive(files: list[Path], heads: list[bytes]) -> Iterator[bytes]:
    for head, file in zip(heads, files, strict=True):
        yield head
        sent = 0
        with file.open("rb") as opened:
            while piece := opened.read(PIECE_BYTES):
                sent += len(piece)
                yield piece
        yield bytes(_padded(sent) - sent)
    yield bytes(2 * BLOCK)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
