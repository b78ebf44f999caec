"""What a worker takes from itself before it meets anyone else's code: limits, privileges, life after its parent.

This is not a sandbox against an expert: files that the worker's user may read, and the network, stay reachable.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from pathlib import Path

FILE_BYTES = 64 << 20
"""Largest file a grader may write, its captured output included."""
MAX_TASKS = 64
"""Processes and threads of one worker that the kernel allows, where it can tell workers apart by user."""

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 38, 47, 2
_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def limit_resources(memory_mb: int, own_user: bool) -> None:
    """Bound memory above what the process holds now, file size, core dumps and, for a user of its own, processes."""
    _limit(resource.RLIMIT_AS, _virtual_bytes() + (memory_mb << 20))
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    if own_user:
        _limit(resource.RLIMIT_NPROC, MAX_TASKS)


def drop_privileges(user: int, needed: list[Path]) -> str:
    """Become an unprivileged user for good; returns what had to be left open, in words, or nothing.

    Python and the grader often lie below a folder that only root may enter. Then the right to read (or, in a
    container that lacks that one, to read and write) every file is kept, and all else is given up.
    """
    kept = None if _readable_by(user, needed) else _spare_capability()
    if kept is None and not _readable_by(user, needed):
        return "graders run as root: Python lies where no other user may read, and this container has no way around"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 1 if kept is not None else 0, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if kept is None:
        return ""
    mask = 1 << kept
    libc.capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), struct.pack("6I", mask, mask, mask, 0, 0, 0))
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0)
    right = "read" if kept == _DAC_READ_SEARCH else "read and write"
    return f"graders can {right} every file here: Python or the grader lies where only root may read"


def stay_with_parent(parent: int) -> None:
    """Gain no privileges from now on, and die when the parent does; ``drop_privileges`` before it, which undoes it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _virtual_bytes() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def _readable_by(user: int, needed: list[Path]) -> bool:
    os.setegid(user)
    os.seteuid(user)
    try:
        return all(os.access(path, os.R_OK, effective_ids=True) for path in needed)
    finally:
        os.seteuid(0)
        os.setegid(0)


def _spare_capability() -> int | None:
    """The narrowest capability we hold that lets a process read what its user may not."""
    status = Path("/proc/self/status").read_text()
    permitted = int(status.partition("CapPrm:")[2].split()[0], 16)
    return next((c for c in (_DAC_READ_SEARCH, _DAC_OVERRIDE) if permitted >> c & 1), None)
