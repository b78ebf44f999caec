"""What one start of user code is made of, as ``launch`` decided it; both halves of a start read it."""

import json
import os
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use. None is no limit of its own."""

    wall_s: float | None = None
    """Time until everything in it is killed."""
    cpu_s: int | None = None
    """CPU time of each process."""
    memory_mb: int | None = None
    """Address space of each process."""
    processes: int = 64
    """Processes and threads of the whole sandbox, where the kernel can tell its user apart."""
    file_mb: int = 64
    """The largest file, captured output included."""
    scratch_mb: int = 256
    """Each of its own folders in memory: the working folder, /tmp and /dev/shm."""
    output_bytes: int = 1 << 20
    """Of each output stream that ``run`` keeps; what is beyond is thrown away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One start."""

    level: str
    command: list[str]
    environment: dict[str, str]
    limits: Limits
    user: int | None
    """The id to become; None keeps ours."""
    parent: int
    """The process to die with."""
    bubblewrap: str
    """Its program, where the level needs that."""
    python: str
    """The interpreter of both halves, without a virtual environment."""
    package: str
    """The folder that this package lies in."""
    working_folder: str
    readable: list[str] = field(default_factory=list)
    """Files and folders that it sees at their own place, read-only."""
    writable: list[str] = field(default_factory=list)
    """The same, to write in."""
    fresh: list[str] = field(default_factory=list)
    """Places of its own in memory, empty at the start."""
    files: dict[str, str] = field(default_factory=dict)
    """Place -> the file or socket outside that lies there, read-only."""
    sockets: dict[str, str] = field(default_factory=dict)
    """Port on localhost -> the unix socket that it leads to, at its place inside."""
    network: bool = False
    seccomp: str = ""
    """The system-call filter, in base 64."""


def written(plan: Plan) -> int:
    """A descriptor of ours that the plan can be read from, by any number of processes."""
    descriptor = _unnamed_file()
    os.write(descriptor, json.dumps(asdict(plan)).encode())
    return descriptor


def read(descriptor: int) -> Plan:
    """The plan behind a descriptor."""
    fields = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return Plan(**{**fields, "limits": Limits(**fields["limits"])})


def _unnamed_file() -> int:
    """In memory where the system has that: a plan may hold secrets in its environment."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("plan")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
