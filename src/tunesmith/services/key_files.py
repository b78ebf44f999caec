"""Secrets of the server's own, each in a file that nobody but its user may read."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes, token_hex


def secret_in(file: Path) -> bytes:
    """32 bytes, made at first use; safe from several processes."""
    if not file.is_file():
        temporary = file.with_name(f".{file.name}-{token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as f:
            f.write(token_bytes(32))
        # Unlike a renaming, a link never replaces the secret that another has made meanwhile.
        with suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink()
    return file.read_bytes()
