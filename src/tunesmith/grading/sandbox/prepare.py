"""From what a caller asks for to a command that can be started: the folders, the plan and its descriptor."""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tunesmith.grading.processes import unused_user
from tunesmith.grading.sandbox import seccomp
from tunesmith.grading.sandbox.outside import BOOT
from tunesmith.grading.sandbox.plan import Limits, Plan, written

PACKAGE = Path(__file__).parents[3]
"""The folder that the package tunesmith lies in."""
SYSTEM_FILES = ("ld.so.cache", "alternatives", "localtime", "ssl", "ca-certificates", "mime.types", "protocols")
"""Parts of /etc that programs need and that hold no secrets."""
NETWORK_FILES = ("resolv.conf", "nsswitch.conf", "services", "gai.conf", "host.conf")
_FOLDER = "tunesmith-sandbox-"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller of ``launch`` asks for."""

    command: Sequence[str]
    readable: Sequence[Path] = ()
    work: Path | None = None
    limits: Limits = Limits()  # noqa: RUF009, frozen
    sockets: Mapping[int, Path] | None = None
    network: bool = False
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A start that is ready to go."""

    command: list[str]
    descriptor: int
    """The plan's; the process inherits it."""
    user: int | None
    folder: Path
    """To be removed when the process has ended."""


@contextmanager
def prepared(request: Request, level: str) -> Iterator[Prepared]:
    """Folders and plan of a start; the folder is removed again if the start fails."""
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    try:
        user = unused_user(_owners(folder.parent))
        if user is not None:
            os.chown(folder, user, user)
        plan = _plan(request, level, user, folder)
        descriptor = written(plan)
        try:
            boot = BOOT.format(half="outside")
            command = [plan.python, "-I", "-S", "-c", boot, plan.package, str(descriptor)]
            yield Prepared(command, descriptor, user, folder)
        finally:
            os.close(descriptor)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _owners(folder: Path) -> set[int]:
    """Users of sandboxes that are being started or run: each owns its folder."""
    found = set()
    for entry in os.scandir(folder):
        if entry.name.startswith(_FOLDER):
            with suppress(OSError):
                found.add(entry.stat(follow_symlinks=False).st_uid)
    return found


@cache
def python_folders(python: str = sys.executable) -> tuple[Path, ...]:
    """What a process needs to see to run a Python, ours by default, with the packages that are installed in it."""
    clean = "import sys; print(sys.prefix, *sys.path, sep='\\n')"
    said = subprocess.run([python, "-P", "-s", "-c", clean], capture_output=True, text=True, env={}, check=True)
    return tuple(dict.fromkeys(Path(line) for line in said.stdout.splitlines() if line))


def _plan(request: Request, level: str, user: int | None, folder: Path) -> Plan:
    own, hosts = folder / "work", folder / "hosts"
    own.mkdir()
    hosts.write_text(_HOSTS)
    folder.chmod(0o755)
    hosts.chmod(0o644)
    work = request.work or own
    if user is not None:
        _give(request.work or folder, user)
    mounts = level in ("bubblewrap", "namespaces")
    sockets = {str(port): str(path.absolute()) for port, path in (request.sockets or {}).items()}
    for socket in sockets.values():
        os.chmod(socket, 0o666)
    inner = {port: f"/run/sockets/{port}" for port in sockets} if mounts else sockets
    files = {"/etc/hosts": "/etc/hosts" if request.network else str(hosts)}
    files |= {place: os.path.realpath(place) for place in _system_files(request.network)}
    python = Path(sys.base_prefix)
    return Plan(
        level=level,
        command=[_plain(request.command[0]), *request.command[1:]],
        environment={**_environment(work), **(request.environment or {})},
        limits=request.limits,
        user=user,
        parent=os.getpid(),
        bubblewrap=shutil.which("bwrap") or "",
        python=os.path.realpath(sys.executable),
        package=str(PACKAGE),
        working_folder=str(work),
        readable=_places([python, python.resolve(), PACKAGE / "tunesmith", *request.readable]),
        writable=_places([request.work]) if request.work else [],
        fresh=["/tmp", "/dev/shm", *([] if request.work else [str(folder)])],
        files=files | {inner[port]: sockets[port] for port in sockets},
        sockets=inner,
        network=request.network,
        seccomp="" if level == "limits" else base64.b64encode(_filter(request, mounts)).decode(),
    )


def _filter(request: Request, mounts: bool) -> bytes:
    """Which system calls are refused; without mounts and a network of its own, more sockets are."""
    if mounts:
        return seccomp.program()
    families = seccomp.INTERNET if request.network or request.sockets else ()
    return seccomp.program(families=families, datagrams=request.network)


def _places(paths: Sequence[Path]) -> list[str]:
    """Absolute, each once, without what the system's programs bring along or what is not there."""
    absolute = dict.fromkeys(Path(_plain(str(path.absolute()))) for path in paths)
    shown = [path for path in absolute if path.exists() and not path.is_relative_to("/usr")]
    # Nothing can be mounted on a link in a folder that is shown, such as a project's .venv; where it leads, it can.
    within = {path for path in shown if not set(path.parents).isdisjoint(shown)}
    return [os.path.realpath(path) if path in within else str(path) for path in shown]


def _plain(path: str) -> str:
    """A path without ``..``, as ``../.venv/bin/python`` has it: the folder that it leaves is not seen inside."""
    plain = os.path.normpath(path)
    return plain if os.path.exists(plain) and os.path.samefile(plain, path) else path


def _system_files(network: bool) -> list[str]:
    names = SYSTEM_FILES + (NETWORK_FILES if network else ())
    return [f"/etc/{name}" for name in names if os.path.exists(f"/etc/{name}")]


def _give(folder: Path, user: int) -> None:
    """Make a folder and all in it the user's, never through a link."""
    for _, folders, files, descriptor in os.fwalk(folder):
        os.fchown(descriptor, user, user)
        for name in (*folders, *files):
            os.chown(name, user, user, dir_fd=descriptor, follow_symlinks=False)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours; one thread for numeric libraries; the same order of sets in every process."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    places = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, "LANG": "C.UTF-8", "USER": "grader"}
    return {**threads, **places, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
