"""Rollouts of jobs, as the server sees them from outside: whose they are, where their worker listens, who may speak.

The id of a rollout begins with its job's. Its key opens nothing but that rollout, so it may be given to whoever makes
it; nothing is stored for it.
"""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.key_files import secret_in
from tunesmith.services.store import Store

KEY_FILE = "rollouts.key"
SOCKET_FILE = "policy"
"""In the folder of a job: where its worker's socket is."""
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
        return None if row is None else Held(row.owner, _told(self._folders.of(row.id) / SOCKET_FILE))

    def opened_by(self, key: str) -> str:
        """The rollout that a key is for; empty for a key of another kind, or a forged one."""
        found = _KEY.fullmatch(key)
        if found is None:
            return ""
        wanted = signature(secret_in(self._data_dir / KEY_FILE), found["rollout"])
        return found["rollout"] if hmac.compare_digest(wanted, found["signature"]) else ""


def new_rollout(job_id: str) -> str:
    """An id that nobody can guess."""
    return f"{job_id}-{token_hex(12)}"


def key_of(secret: bytes, rollout: str) -> str:
    """The key of a rollout, in the form that Fireworks' clients expect."""
    return f"fw_rollout-{rollout}-{signature(secret, rollout)}"


def signature(secret: bytes, rollout: str) -> str:
    return hmac.new(secret, f"rollout:{rollout}".encode(), hashlib.sha256).hexdigest()


def tell(folder: Path, socket: Path) -> None:
    """Let the server know where a job's worker listens; the newest worker has the word."""
    temporary = folder / f".{SOCKET_FILE}-{token_hex(4)}"
    temporary.write_text(str(socket), "utf-8")
    os.replace(temporary, folder / SOCKET_FILE)


def _told(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
