"""The processes that belong to one worker: found in /proc, counted, and killed to the last one."""

import os
import secrets
import signal
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from tunesmith.core.errors import UserError

_FREE_USERS = range(60578, 61184)
"""User ids that no convention hands out (systemd's map of the uid space)."""

_MOST_LOOKS = 50


def unused_user(promised: Collection[int] = ()) -> int | None:
    """A user id that nobody and no process has, when this process may hand it out; None when it is not root.

    Args:
        promised: ids of those who have not started yet, to be avoided.

    Raises:
        UserError: every id is in use.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    taken = {user for _, user in _users()}
    free = [user for user in _FREE_USERS if user not in taken]
    if not free:
        raise UserError("sandbox", f"all {len(_FREE_USERS)} of its user ids are in use", "Run fewer graders at a time")
    return secrets.choice([user for user in free if user not in promised] or free)


def members(leader: int, user: int | None) -> list[int]:
    """Live processes of a worker: those of its own user, else those of its session, its group and its descendants."""
    if user is not None:
        return [pid for pid, owner in _users() if owner == user]
    parents = {}
    found = set()
    for pid in _pids():
        with suppress(OSError, IndexError):
            state, parent, group, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                parents[pid] = int(parent)
                if str(leader) in (group, session):
                    found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def held_bytes(pids: Iterable[int]) -> int:
    """Memory that processes hold together, what they share counted once."""
    held = 0
    for pid in pids:
        with suppress(OSError, IndexError, ValueError):
            held += int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) << 10
    return held


def kill_all(leader: int, user: int | None) -> None:
    """Kill the group at once, then whoever left it, again until a look finds nobody: a fork bomb races with us."""
    left = members(leader, user)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for _ in range(_MOST_LOOKS):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        left = members(leader, user)
        if not left:
            return


def _users() -> list[tuple[int, int]]:
    """(pid, real user id) of every live process."""
    found = []
    for pid in _pids():
        with suppress(OSError, IndexError, ValueError):
            status = Path(f"/proc/{pid}/status").read_text()
            state = status.partition("State:\t")[2][0]
            if state not in "ZX":
                found.append((pid, int(status.partition("Uid:\t")[2].split()[0])))
    return found


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
