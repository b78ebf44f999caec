"""Merging an adapter in a process of its own, so that the server neither waits for it nor holds what it needs."""

import asyncio
import sys
from pathlib import Path

from tunesmith.core.errors import UserError


async def merge_apart(base: Path, adapter: Path, out: Path) -> None:
    """``merge.merge`` in a process of its own.

    Raises:
        UserError: what that process was told.
    """
    command = (sys.executable, "-m", "tunesmith.services.merge", str(base), str(adapter), str(out))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        words = said.decode("utf-8", errors="replace").strip().splitlines()
        problem = f"the merge ended with {process.returncode}: {words[-1] if words else 'killed, out of memory?'}"
        raise UserError(adapter.name, problem, "Sample the checkpoint by its own path")
