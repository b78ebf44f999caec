"""The file system that a process sees, made with mounts of our own."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from tunesmith.grading.sandbox import kernel, ownership
from tunesmith.grading.sandbox.bubblewrap import layout
from tunesmith.grading.sandbox.plan import Plan

_READ_ONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 1 << 12, 1 << 14, 1 << 18
_DETACH = 2
BASE = "/sys"
"""Where mounts are prepared, seen by nobody else: everyone may enter it, and nobody keeps files there."""
_DEVICES = ("null", "zero", "full", "random", "urandom")
_WITH_ALL_BELOW = 0x8000
_HERE = -100
_UP, _RUNNING, _GET_FLAGS, _SET_FLAGS = 0x1, 0x40, 0x8913, 0x8914


def stage(plan: Plan) -> dict[str, str]:
    """Mount everything outside that the plan names where any user may reach it; source -> there."""
    _alone()
    staged: dict[str, str] = {}
    for kind, source in layout(plan).values():
        if kind in ("read", "write") and source not in staged:
            staged[source] = f"{BASE}/{len(staged)}"
            _show(plan, source, staged[source], "/proc")
    return staged


def enter(plan: Plan) -> None:
    """Build the root of the plan and make it ours; the caller is the first of a new process namespace."""
    _alone()
    for folder in ("proc", "dev/shm"):
        os.makedirs(f"{BASE}/{folder}")
    _mount("proc", f"{BASE}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for device in _DEVICES:
        _bind(f"/dev/{device}", f"{BASE}/dev/{device}")
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        os.symlink(f"/proc/self/fd{target}", f"{BASE}/dev/{name}")
    for place, (kind, source) in layout(plan).items():
        inside = BASE + place
        if kind == "link":
            os.symlink(source, inside)
        elif kind == "fresh":
            os.makedirs(inside, exist_ok=True)
            _mount("tmpfs", inside, "tmpfs", _NOSUID | _NODEV, f"size={plan.limits.scratch_mb}m,mode=1777")
        else:
            _show(plan, source, inside, f"{BASE}/proc")
            _restrict(inside, read_only=kind == "read")
    os.chdir(BASE)
    kernel.system_call("pivot_root", b".", b".")
    kernel.call("umount2", b".", _DETACH)
    os.chdir("/")
    _mount("none", "/", "", _BIND | _REMOUNT | _READ_ONLY | _NOSUID | _NODEV)


def map_user(user: int, group: int) -> None:
    """Keep our own ids in a user namespace that we have just made."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def start_loopback() -> None:
    """Bring up the one interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP | _RUNNING))


def _alone() -> None:
    """Nothing that is mounted from now on is seen by others; an empty file system in memory lies at the base."""
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", BASE, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")


def _show(plan: Plan, source: str, place: str, processes: str) -> None:
    """Show a file or folder at another place, where its owner is not the user of the sandbox as if it were."""
    if plan.user is None or os.stat(source).st_uid == plan.user or source not in plan.readable:
        _bind(source, place)
    else:
        _mount_point(source, place)
        ownership.show(source, place, plan.user, processes)


def _bind(source: str, place: str) -> None:
    _mount_point(source, place)
    _mount(source, place, "", _BIND | _RECURSIVE)


def _mount_point(source: str, place: str) -> None:
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_RDONLY, 0o644))


def _restrict(place: str, read_only: bool) -> None:
    """No set-user-id programs and no devices below a mount, and no writing if so asked."""
    flags = _NOSUID | _NODEV | (_READ_ONLY if read_only else 0)
    attributes = struct.pack("4Q", flags, 0, 0, 0)
    kernel.system_call("mount_setattr", _HERE, place, _WITH_ALL_BELOW, ctypes.create_string_buffer(attributes), 32)


def _mount(source: str, place: str, kind: str, flags: int, options: str = "") -> None:
    kernel.call("mount", source, place, kind or None, flags, options or None)
