"""Writes that survive a crash: temporary name, fsync, rename, fsync of the folder. A run's files all go through here.

Every operation that a crash could fall between passes ``_point``; tests set TUNESMITH_FAIL_AT=n to die at the n-th.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_passed = [0]


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with temporary.open("wb") as f:
            _point()
            f.write(data)
            f.flush()
            _fsync(f.fileno())
        _point()
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def append_line(path: Path, line: str) -> int:
    """Add one line and wait until it is on disk; returns the file's size after it."""
    with path.open("ab") as f:
        _point()
        f.write(line.encode() + b"\n")
        f.flush()
        _fsync(f.fileno())
        return f.tell()


def put_in_place(temporary: Path, final: Path) -> None:
    """Give a file that is written its name, once all of it is on disk."""
    with temporary.open("rb") as f:
        _fsync(f.fileno())
    _point()
    temporary.replace(final)
    _fsync_folder(final.parent)


def truncate(path: Path, size: int) -> None:
    """Cut a file back to a size it had before."""
    if path.exists() and path.stat().st_size > size:
        with path.open("r+b") as f:
            f.truncate(size)
            _fsync(f.fileno())


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that replaces ``final`` when the block ends; when it fails, no space stays taken."""
    temporary = final.with_name(f".tmp-{final.name}")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        _commit(temporary, final)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def is_disk_full(error: BaseException) -> bool:
    """By its number where the system raised it; safetensors wraps the system's words into an error of its own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _commit(temporary: Path, final: Path) -> None:
    for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
        with file.open("rb") as f:
            _fsync(f.fileno())
    for folder in sorted(p for p in temporary.rglob("*") if p.is_dir()):
        _fsync_folder(folder)
    _fsync_folder(temporary)
    if final.exists():
        shutil.rmtree(final)
    _point()
    temporary.replace(final)
    _fsync_folder(final.parent)


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fsync(descriptor: int) -> None:
    _point()
    os.fsync(descriptor)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def _point() -> None:
    """Die here, as a power cut would, when this is the operation that TUNESMITH_FAIL_AT counts to."""
    _passed[0] += 1
    if _passed[0] == int(os.environ.get("TUNESMITH_FAIL_AT", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
