"""The system calls that user code is refused, as a program of the kernel's packet filter.

A list of what is denied, not of what is allowed: a new C library may need calls that nobody here has heard of. What is
denied reaches other processes, changes the machine, or has been a way out of a sandbox before.
"""

import errno
import platform
import struct
import sys
from collections.abc import Sequence

from tunesmith.grading.sandbox.kernel import NEW_NAMESPACES

DENIED: dict[str, tuple[int | None, int | None]] = {
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # Keys, programs and queues inside the kernel.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    # File systems and namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # The machine itself.
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
}
"""Name -> number on x86_64, on aarch64."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Name -> column above, AUDIT_ARCH_*."""
_CLONE, _CLONE3, _SOCKET = (56, 220), 435, (41, 198)
UNIX, INTERNET = (1,), (2, 10)
"""Families of sockets."""
FAMILIES = (*UNIX, *INTERNET)
_STREAM = 1
_X32_BIT = 0x40000000
"""System calls of the second kind that x86_64 has; the same calls by other numbers."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def supported() -> bool:
    """Whether this is a kernel whose numbers are known."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def program(machine: str | None = None, families: Sequence[int] = FAMILIES, datagrams: bool = True) -> bytes:
    """The filter for this machine, as an array of ``struct sock_filter``.

    Args:
        families: of sockets that may be made.
        datagrams: whether they may be others than streams.
    """
    column, architecture = _MACHINES[machine or platform.machine()]
    rules = [
        _rule(_LOAD, _ARCHITECTURE),
        _rule(_EQUAL, architecture, 1, 0),
        _rule(_RETURN, _KILL),
        _rule(_LOAD, _NUMBER),
    ]
    if column == 0:
        rules += [_rule(_AT_LEAST, _X32_BIT, 0, 1), _rule(_RETURN, _KILL)]
    for numbers in DENIED.values():
        if (number := numbers[column]) is not None:
            rules += [_rule(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    # Its flags lie in memory, where no filter can look; the C library falls back to clone.
    rules += [_rule(_EQUAL, _CLONE3, 0, 1), _refuse(errno.ENOSYS)]
    rules += [
        _rule(_EQUAL, _CLONE[column], 0, 4),
        _rule(_LOAD, _FIRST_ARGUMENT),
        _rule(_ANY_BIT, sum(NEW_NAMESPACES.values()), 0, 1),
        _refuse(errno.EPERM),
        _rule(_RETURN, _ALLOW),
    ]
    sockets = _of_sockets(families, datagrams)
    rules += [_rule(_EQUAL, _SOCKET[column], 0, len(sockets)), *sockets, _rule(_RETURN, _ALLOW)]
    return b"".join(rules)


def _of_sockets(families: Sequence[int], datagrams: bool) -> list[bytes]:
    """Some families, such as the one between virtual machines, know no namespaces."""
    count = len(families)
    rules = [_rule(_LOAD, _FIRST_ARGUMENT)]
    rules += [_rule(_EQUAL, family, count - i, 0) for i, family in enumerate(families)]
    rules += [_refuse(errno.EAFNOSUPPORT)]
    if not datagrams:
        # Flags are in the same number.
        rules += [_rule(_LOAD, _SECOND_ARGUMENT), _rule(_AND, 0xF), _rule(_EQUAL, _STREAM, 1, 0)]
        rules += [_refuse(errno.EAFNOSUPPORT)]
    return [*rules, _rule(_RETURN, _ALLOW)]


def _rule(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _rule(_RETURN, _ERRNO | number)
