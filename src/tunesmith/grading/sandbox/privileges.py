"""Becoming an unprivileged user for good."""

import ctypes
import os
import struct
from pathlib import Path

from tunesmith.grading.sandbox import kernel

_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_AMBIENT_RAISE = 2


def give_up(user: int) -> None:
    """Be that user, with no rights of root."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def give_up_what_can_be(user: int, needed: list[str]) -> None:
    """Be that user, with the right to read every file where what is needed lies out of the user's reach.

    Python, or a working folder, often lies below a folder that only root may enter. A container that has not that
    right may have the one to read and write; one that has neither cannot run user code as root.
    """
    if _readable_by(user, needed):
        return give_up(user)
    kept = _spare_capability()
    if kept is None:
        raise PermissionError("what it needs lies where only root may read, and this container has no way around")
    kernel.call("prctl", kernel.PR_SET_KEEPCAPS, 1, 0, 0, 0)
    give_up(user)
    mask = 1 << kept
    header, sets = struct.pack("Ii", _CAPABILITY_VERSION, 0), struct.pack("6I", mask, mask, mask, 0, 0, 0)
    kernel.call("capset", ctypes.create_string_buffer(header), ctypes.create_string_buffer(sets))
    kernel.call("prctl", kernel.PR_CAP_AMBIENT, _AMBIENT_RAISE, kept, 0, 0)


def _readable_by(user: int, needed: list[str]) -> bool:
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
