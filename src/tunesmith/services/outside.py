"""What a job is given besides its spec: the owner's secrets, and a way between its rollouts and servers elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tunesmith.core.addresses import Network


@dataclass(frozen=True, slots=True)
class Server:
    """What a server tells the workers that it starts."""

    base_url: str = ""
    """Where other machines reach it."""
    allowed: tuple[str, ...] = ()
    """Inner networks that its owner lets users name."""
    loopback: bool = False
    """Only programs on this machine reach it."""

    def as_line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_line(cls, line: str) -> "Server":
        told = json.loads(line)
        return cls(told["base_url"], tuple(told["allowed"]), told["loopback"])


@dataclass(frozen=True, slots=True)
class Reach:
    """How the rollouts of one job reach a remote server, and how it reaches the job's policy."""

    job_id: str
    folder: Path
    """Of the job."""
    base_url: str
    """Of the server, which hands on what comes for the job."""
    allowed: tuple[Network, ...]
    secret: bytes
    """Signs the keys of rollouts."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Nothing, for a run without a server."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for an uploaded evaluator."""
    reach: Reach | None = None


NOTHING = Outside()
