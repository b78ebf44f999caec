"""Showing files to a user who does not own them: a mount on which the owner's files are that user's.

A folder that only its owner may enter is of no use to the unprivileged user that code is run as. On such a mount it
is, without a change to the folder; where the kernel or the file system has none, rights stay as they are.
"""

import ctypes
import os
import signal
import struct
from functools import cache
from pathlib import Path

from tunesmith.grading.sandbox import kernel

_CLONE, _WITH_ALL_BELOW, _CLOSE_ON_EXEC = 1, 0x8000, os.O_CLOEXEC
_THE_DESCRIPTOR_ITSELF, _FROM_DESCRIPTOR, _HERE = 0x1000, 4, -100
_MAPPED_OWNERS = 0x00100000


def show(source: str, place: str, user: int, processes: str) -> None:
    """Mount a file or folder at a place, with its owner's files as the user's; `processes` is where our /proc lies."""
    tree = kernel.system_call("open_tree", _HERE, source, _CLONE | _WITH_ALL_BELOW | _CLOSE_ON_EXEC)
    try:
        owner = os.stat(source)
        mapping = _mapping(owner.st_uid, owner.st_gid, user, processes)
        attributes = struct.pack("4Q", _MAPPED_OWNERS, 0, 0, mapping)
        at = _THE_DESCRIPTOR_ITSELF | _WITH_ALL_BELOW
        kernel.system_call("mount_setattr", tree, "", at, ctypes.create_string_buffer(attributes, 32), 32)
    except OSError:
        pass  # As the module says: rights stay as they are, and a file that cannot be read says so when it is opened.
    kernel.system_call("move_mount", tree, "", _HERE, place, _FROM_DESCRIPTOR)
    os.close(tree)


@cache
def _mapping(owner: int, group: int, user: int, processes: str) -> int:
    """A user namespace in which the owner outside is the user; mounts take their mapping from one."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            kernel.call("unshare", kernel.NEW_NAMESPACES["user"])
            os.write(told, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    try:
        if not os.read(ready, 1):
            raise PermissionError("no user namespaces here")
        Path(f"{processes}/{child}/uid_map").write_text(f"{owner} {user} 1")
        Path(f"{processes}/{child}/gid_map").write_text(f"{group} {user} 1")
        return os.open(f"{processes}/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
