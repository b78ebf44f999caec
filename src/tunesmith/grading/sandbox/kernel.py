"""System calls that Python has no function for; a failed one is an OSError that names the call."""

import ctypes
import os
import platform
from functools import cache
from typing import Any

NEW_NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
"""CLONE_NEW*: what unshare, clone and setns take."""

_NUMBERS = {
    "x86_64": {"pivot_root": 155},
    "aarch64": {"pivot_root": 41},
}
_SAME_EVERYWHERE = {
    "open_tree": 428,
    "move_mount": 429,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 8, 22, 38, 47
ENDED_BY_SIGNAL = 128
"""Plus the signal's number: the exit status of a process around a command that a signal ended."""


def exit_code(status: int) -> int:
    """What a process around a command leaves with, from what it waited for."""
    code = os.waitstatus_to_exitcode(status)
    return ENDED_BY_SIGNAL - code if code < 0 else code


def call(name: str, *arguments: Any) -> int:
    """A function of the C library that returns -1 when it fails."""
    return _checked(name, getattr(_libc(), name)(*map(_argument, arguments)))


def system_call(name: str, *arguments: Any) -> int:
    """A system call by number: for those that the C library has no function for."""
    number = _SAME_EVERYWHERE.get(name) or _NUMBERS[platform.machine()][name]
    return _checked(name, _libc().syscall(ctypes.c_long(number), *map(_argument, arguments)))


def _checked(name: str, result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _argument(value: Any) -> Any:
    """Numbers in the full width of a register, text as bytes."""
    if isinstance(value, int):
        return ctypes.c_long(value)
    return value.encode() if isinstance(value, str) else value


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
