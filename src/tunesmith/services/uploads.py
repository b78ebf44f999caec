"""Files that owners send: each in a folder of its own under a random key, there once it is whole. Rows name keys."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from tunesmith.core import durable
from tunesmith.core.errors import UserError


class Incoming:
    """A file while it arrives."""

    def __init__(self, path: Path, most: int, what: str = "dataset") -> None:
        self.file, self._most, self._what, self.num_bytes = path.open("wb"), most, what, 0

    def write(self, data: bytes) -> None:
        """
        Raises:
            UserError: the file is over the limit; nothing of it is kept.
        """
        self.num_bytes += len(data)
        if self.num_bytes > self._most:
            raise UserError(self._what, f"is larger than {self._most:,} bytes", "Split it, or raise the server's limit")
        self.file.write(data)


class Uploads:
    """All uploads of one noun."""

    def __init__(self, root: Path, most: int, what: str) -> None:
        self._root, self._most, self._what = root, most, what

    @contextmanager
    def arriving(self, filename: str) -> Iterator[tuple[str, Incoming]]:
        """(key, file to write to): on disk whole when the block ends, gone when it fails."""
        key = token_hex(12)
        self._root.mkdir(parents=True, exist_ok=True)
        with durable.new_folder(self.folder(key)) as folder:
            incoming = Incoming(folder / filename, self._most, self._what)
            with incoming.file:
                yield key, incoming

    def folder(self, key: str) -> Path:
        return self._root / key

    def discard(self, key: str) -> None:
        """Remove an upload; an empty key stands for none."""
        if key:
            shutil.rmtree(self.folder(key), ignore_errors=True)

    def sweep(self, named: Collection[str]) -> None:
        """Remove what no row names: uploads that a crash cut short. For when nothing is being uploaded."""
        for folder in self._root.glob("*"):
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)


def check_display_name(text: str) -> None:
    """
    Raises:
        UserError: several lines, or too long.
    """
    if len(text) > 200 or not text.isprintable():
        raise UserError("display_name", "is not one line of up to 200 characters", "Give a shorter one")
