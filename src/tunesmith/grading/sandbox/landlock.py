"""Landlock: a process gives up files and other processes for good, for itself and all that it starts.

A kernel that has not all of it takes what it has; ``version`` says how much that is.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

from tunesmith.grading.sandbox import kernel

_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_MAKE_AND_REMOVE = sum(1 << bit for bit in (4, 5, 7, 8, 9, 10, 12))
"""All but devices."""
_MOVE, _SHORTEN, _CONTROL_DEVICES = 1 << 13, 1 << 14, 1 << 15
_SINCE = {1: (1 << 13) - 1, 2: _MOVE, 3: _SHORTEN, 5: _CONTROL_DEVICES}
"""Version of the kernel's interface -> rights over files that came with it."""
_OF_FILES = _EXECUTE | _WRITE | _READ | _SHORTEN | _CONTROL_DEVICES
"""Rights over what is no folder."""
LOOK, CHANGE = _EXECUTE | _READ | _LIST, _EXECUTE | _READ | _LIST | _WRITE | _MAKE_AND_REMOVE | _MOVE | _SHORTEN
"""What rules give below a place."""
_PORTS_SINCE, _LISTEN, _CONNECT = 4, 1, 2
_OTHERS_SINCE, _ABSTRACT_SOCKETS, _SIGNALS = 6, 1, 2
_BELOW_A_PATH, _AT_A_PORT, _ASK_VERSION = 1, 2, 1


def version() -> int:
    """Of the kernel's interface; 0 where it has none."""
    try:
        return kernel.system_call("landlock_create_ruleset", None, 0, _ASK_VERSION)
    except OSError:
        return 0


def needed() -> int:
    """The version that is enough where nothing else keeps a process in: with a user of its own it can signal nobody."""
    return _PORTS_SINCE if os.geteuid() == 0 else _OTHERS_SINCE


def confine(rights: dict[str, int], ports: Sequence[int] | None = None) -> None:
    """Keep no more than this over files, and over processes and nameless sockets those that are confined alike.

    Does nothing where the kernel has no Landlock; needs PR_SET_NO_NEW_PRIVS.

    Args:
        rights: path -> LOOK or CHANGE, for it and what lies below; places that are not there are left out.
        ports: the only ones that streams may connect to, and none may listen; None leaves that alone.
    """
    known = version()
    if not known:
        return
    files = sum(right for since, right in _SINCE.items() if since <= known)
    others = _ABSTRACT_SOCKETS | _SIGNALS if known >= _OTHERS_SINCE else 0
    # Each kernel refuses what is longer than it knows.
    size = 8 * (1 + (known >= _PORTS_SINCE) + (known >= _OTHERS_SINCE))
    streams = _LISTEN | _CONNECT if ports is not None and known >= _PORTS_SINCE else 0
    given = struct.pack("3Q", files, streams, others)[:size]
    rules = kernel.system_call("landlock_create_ruleset", ctypes.create_string_buffer(given, size), size, 0)
    for path, right in rights.items():
        _allow_below(rules, path, right & files)
    for port in ports or ():
        rule = ctypes.create_string_buffer(struct.pack("2Q", _CONNECT, port), 16)
        kernel.system_call("landlock_add_rule", rules, _AT_A_PORT, rule, 0)
    kernel.system_call("landlock_restrict_self", rules, 0)
    os.close(rules)


def _allow_below(rules: int, path: str, right: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    is_folder = stat.S_ISDIR(os.fstat(place).st_mode)
    rule = struct.pack("=Qi", right if is_folder else right & _OF_FILES, place)
    kernel.system_call("landlock_add_rule", rules, _BELOW_A_PATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    os.close(place)
