"""A job on a disk that fills up, in a mount of this process alone; then on the same disk with room."""

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

from tunesmith.core.errors import JobStopped
from tunesmith.services import checkpoints, worker
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE, MS_REMOUNT = 0x4000, 1 << 18, 0x20


class NotPermitted(Exception):
    """This machine does not let us mount."""


def run_and_make_room(settings: dict[str, Any], size_kb: int, keep: Path) -> None:
    """Run a job on a disk of that size; where it fills up, check what is left, make room and go on.

    Prints what stopped the job; copies the finished run to ``keep``.
    """
    disk = Path(settings["output_dir"]).parent
    _own_mounts()
    _mount(disk, size_kb, 0)
    run = RunFolder(settings["output_dir"])
    try:
        worker.start(build_spec(settings))
    except JobStopped as e:
        print(f"stopped: {e}", flush=True)
        _check_what_is_left(run)
        _mount(disk, 64 << 10, MS_REMOUNT)
        if (run.path / "state.json").exists():
            worker.resume(run)
        else:
            worker.start(build_spec(settings))
    shutil.copytree(run.path, keep)


def _check_what_is_left(run: RunFolder) -> None:
    """Every checkpoint that has its final name is whole, no half of one takes space, and the state does not lie."""
    folders = list((run.path / "checkpoints").glob("*"))
    wrong = {f.name: checkpoints.problem(f) for f in folders if checkpoints.problem(f)}
    assert not wrong, wrong
    if (run.path / "state.json").exists():
        state = run.state()
        print(f"state: {state.state} {state.reason}", flush=True)


def _own_mounts() -> None:
    """Leave the mounts of everybody else, as root or as the root of a user namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS) != 0:
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0:
            raise NotPermitted(os.strerror(ctypes.get_errno()))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise NotPermitted(os.strerror(ctypes.get_errno()))


def _mount(folder: Path, size_kb: int, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", flags, f"size={size_kb}k".encode()) != 0:
        raise NotPermitted(os.strerror(ctypes.get_errno()))
