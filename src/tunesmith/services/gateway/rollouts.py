"""Names of rollouts, their keys, and where the worker listens that has one in hand.

The id of a rollout begins with its job's. Its key opens nothing but that rollout, so it may be given to whoever makes
it; nothing is stored for it.
"""

import hashlib
import hmac
import os
from pathlib import Path
from secrets import token_hex

KEY_FILE = "rollouts.key"
SOCKET_FILE = "policy"
"""In the folder of a job: where its worker's socket is."""


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


def told(folder: Path) -> str:
    """Where the worker of the job in a folder listens; empty where none does."""
    try:
        return (folder / SOCKET_FILE).read_text("utf-8")
    except FileNotFoundError:
        return ""
