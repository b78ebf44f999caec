"""Rollouts of jobs, as the server sees them from outside: whose they are, and what a key opens."""

import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from tunesmith.services.gateway.rollouts import KEY_FILE, signature, told
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.key_files import secret_in
from tunesmith.services.store import Store

_KEY = re.compile(r"(?:fw_|tml-)rollout-(?P<rollout>job-[0-9a-f]+-[0-9a-f]+)-(?P<signature>[0-9a-f]{64})")
_ROLLOUT = re.compile(r"(?P<job>job-[0-9a-f]+)-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Held:
    """A job that has a rollout in hand, or had."""

    owner: str
    socket: str
    """Of its worker; empty when there is none."""


class Rollouts:
    """Of all jobs of a server."""

    def __init__(self, store: Store, folders: Folders, data_dir: Path) -> None:
        self._store, self._folders, self._data_dir = store, folders, data_dir

    def find(self, rollout: str) -> Held | None:
        """Who has a rollout; None where it is no job's."""
        named = _ROLLOUT.fullmatch(rollout)
        if named is None:
            return None
        with self._store.read() as db:
            row = db.get(JobRow, named["job"])
        return None if row is None else Held(row.owner, told(self._folders.of(row.id)))

    def opened_by(self, key: str) -> str:
        """The rollout that a key is for; empty for a key of another kind, or a forged one."""
        found = _KEY.fullmatch(key)
        if found is None:
            return ""
        wanted = signature(secret_in(self._data_dir / KEY_FILE), found["rollout"])
        return found["rollout"] if hmac.compare_digest(wanted, found["signature"]) else ""
