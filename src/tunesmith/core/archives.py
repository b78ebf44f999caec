"""Archives from strangers: unpacked into a folder of ours, whole or not at all, with bounds on everything they claim.

Sizes are counted while unpacking; what an archive says of itself is believed only where it is a reason to refuse.
"""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tunesmith.core.errors import UserError

_CHUNK = 1 << 16
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, OSError)
_KINDS, _PLAIN = "Send a .tar.gz, .tar or .zip", "Pack plain files and folders alone"
_HEADER_BYTES = 2048
"""Of a tar for each file: its header, a long name, and what fills the last block."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may unpack to."""

    total_bytes: int = 200 << 20
    files: int = 5_000
    """Files and folders together."""
    ratio: int = 100
    """Unpacked bytes per byte of the archive, above the first megabyte."""
    depth: int = 32
    """Folders within folders."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder of an archive."""

    name: str
    content: IO[bytes] | None
    """None for a folder."""
    executable: bool


def unpack(archive: Path, folder: Path, limits: ArchiveLimits | None = None) -> list[Path]:
    """Unpack a .tar, .tar.gz or .zip into a folder that must not exist yet; returns its files, relative and in order.

    Links, devices, names that lead out of the folder and names that come twice are refused; archives inside stay
    packed. Owners, times and special permissions are not taken over.

    Raises:
        UserError: names the entry and what is wrong with it; nothing is left of the folder.
    """
    limits = limits or ArchiveLimits()
    folder.mkdir(parents=True)
    try:
        with _entries(archive, limits) as entries:
            return _Unpacking(archive, folder, limits).all(entries)
    except _BROKEN as e:
        shutil.rmtree(folder)
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise UserError(f"archive {archive.name}", f"is broken: {str(e)[:200]}", _KINDS) from None
    except BaseException:
        shutil.rmtree(folder)
        raise


class _Unpacking:
    """One archive on its way to a folder: what has come so far."""

    def __init__(self, archive: Path, folder: Path, limits: ArchiveLimits) -> None:
        self._archive, self._folder, self._limits = archive, folder, limits
        self._room = min(limits.total_bytes, (1 << 20) + archive.stat().st_size * limits.ratio)
        self._seen: set[str] = set()

    def all(self, entries: Iterator[_Entry]) -> list[Path]:
        files = []
        for number, entry in enumerate(entries, 1):
            if number > self._limits.files:
                raise self._refused(entry.name, f"is beyond {self._limits.files} files and folders")
            inner = self._inner(entry.name)
            place = self._folder / inner
            if entry.content is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            if str(inner).casefold() in self._seen:
                raise self._refused(entry.name, "comes twice")
            self._seen.add(str(inner).casefold())
            self._write(entry, entry.content, place)
            files.append(inner)
        return sorted(files)

    def _inner(self, name: str) -> Path:
        """The path of a name below the folder."""
        path = PurePosixPath(name)
        if "\\" in name or "\0" in name or any(ord(c) < 32 for c in name):
            raise self._refused(name, "has a backslash or a control character in its name")
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise self._refused(name, "leads out of its folder")
        if len(path.parts) > self._limits.depth or any(len(part.encode()) > 255 for part in path.parts):
            raise self._refused(name, "has too long a path")
        return Path(*path.parts)

    def _write(self, entry: _Entry, content: IO[bytes], place: Path) -> None:
        """Copy a file, as long as there is room."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            target = place.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self._refused(entry.name, "is a file and a folder at once") from None
        with target:
            while chunk := content.read(_CHUNK):
                self._room -= len(chunk)
                if self._room < 0:
                    most, ratio = self._limits.total_bytes >> 20, self._limits.ratio
                    raise self._refused(entry.name, f"is beyond {most} MB in all, or {ratio} times the archive")
                target.write(chunk)
        place.chmod(0o755 if entry.executable else 0o644)

    def _refused(self, name: str, problem: str) -> UserError:
        return UserError(f"archive {self._archive.name}, {name[:200]!r}", problem, _PLAIN)


@contextmanager
def _entries(archive: Path, limits: ArchiveLimits) -> Iterator[Iterator[_Entry]]:
    """The entries of an archive, whatever its kind; its content decides, not its name."""
    with archive.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                yield _of_zip(packed, archive)
            return
        file.seek(0)
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        # As a stream: a list of all entries would be as long as the archive likes.
        with gzip.open(file) if zipped else nullcontext(file) as plain:
            bounded = _Bounded(
                cast(IO[bytes], plain), limits.total_bytes + limits.files * _HEADER_BYTES + (1 << 20), archive
            )
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|") as packed_tar:
                yield _of_tar(packed_tar, archive)


class _Bounded:
    """A tar that ends in a refusal: its headers, too, may claim any length, and are held in memory."""

    def __init__(self, file: IO[bytes], room: int, archive: Path) -> None:
        self._file, self._room, self._archive = file, room, archive

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self._room -= len(chunk)
        if self._room < 0:
            raise UserError(f"archive {self._archive.name}", "unpacks to more than it may", _PLAIN)
        return chunk


def _of_tar(packed: tarfile.TarFile, archive: Path) -> Iterator[_Entry]:
    for member in packed:
        packed.members = []  # type: ignore[attr-defined]
        if member.isdir():
            yield _Entry(member.name, None, False)
        elif member.isreg() and not member.issparse():
            yield _Entry(member.name, packed.extractfile(member), bool(member.mode & stat.S_IXUSR))
        else:
            kind = "a link" if member.issym() or member.islnk() else "no plain file"
            raise UserError(f"archive {archive.name}, {member.name[:200]!r}", f"is {kind}", _PLAIN)


def _of_zip(packed: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for member in packed.infolist():
        mode = member.external_attr >> 16
        if member.is_dir():
            yield _Entry(member.filename, None, False)
            continue
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
            raise UserError(f"archive {archive.name}, {member.filename[:200]!r}", f"is {kind}", _PLAIN)
        if member.flag_bits & 1:
            raise UserError(f"archive {archive.name}, {member.filename[:200]!r}", "is encrypted", "Pack it without")
        with packed.open(member) as content:
            yield _Entry(member.filename, content, bool(mode & stat.S_IXUSR))
