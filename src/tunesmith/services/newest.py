"""The newest lines of a file that only grows, for those who look at it again and again while it gets long."""

from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 1 << 14


def newest_lines(path: Path) -> Iterator[bytes]:
    """Complete lines, newest first; no more of the file is read than is asked for. Nothing where it is not there."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        at = file.seek(0, 2)
        # What stands after the last line end is a line in the making.
        rest, whole = b"", False
        while at:
            start = max(0, at - BLOCK_BYTES)
            file.seek(start)
            first, *others = (file.read(at - start) + rest).split(b"\n")
            yield from (reversed(others) if whole else reversed(others[:-1]))
            # Without a line end in it, the block is a part of a line, or of the line in the making.
            rest, whole, at = (first, whole or bool(others), start)
        if whole and rest:
            yield rest
