"""A `tunesmith serve` for the benchmarks: processes in a folder of its own, and how much memory it holds."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from bench.results import Line

START_S = 60.0
MB = 1 << 20
MEMORY_EVERY_S, GROWTH_TARGET = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers."""

    base_url: str
    key: str
    pid: int
    data_dir: Path

    def memory_mb(self) -> float:
        """Memory of the server, its nursery and its engines, what they share counted once; jobs are not counted."""
        return sum(_own_bytes(pid) for pid in self._members()) / MB

    def _members(self) -> Iterator[int]:
        children = _children()
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting += [child for child in children.get(pid, []) if not _works_on_a_job(child)]


def _children() -> dict[int, list[int]]:
    """Process ids by that of their parent."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        # It may have ended.
        with suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found.setdefault(parent, []).append(int(entry.name))
    return found


def _works_on_a_job(pid: int) -> bool:
    """By its command from nothing, or by the name that the nursery gave it."""
    with suppress(FileNotFoundError, ProcessLookupError):
        here = Path(f"/proc/{pid}")
        return "worker_main" in (here / "comm").read_text() + (here / "cmdline").read_text()
    return False


def _own_bytes(pid: int) -> int:
    """Proportional set size; a process that has just ended holds nothing."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


@dataclass(slots=True)
class Memory:
    """What a server holds, looked at from time to time by a thread."""

    server: Served
    every_s: float = MEMORY_EVERY_S
    seen_mb: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> "Memory":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self.seen_mb.append(self.server.memory_mb())

    def line(self, what: str, of: str) -> Line:
        """Whether it grew once everybody was there."""
        seen = self.seen_mb[len(self.seen_mb) // 4 :]
        third = max(1, len(seen) // 3)
        early, late = median(seen[:third]), median(seen[-third:])
        return Line(
            what,
            f"{early:.0f} MB early, {late:.0f} MB late",
            f"grows by less than {GROWTH_TARGET:.0%}",
            late < (1 + GROWTH_TARGET) * early,
            f"{of}, medians of the second and the last quarter",
        )


@contextmanager
def served() -> Iterator[Served]:
    """Start a server on a free port; end it and its processes afterwards."""
    # Jobs have processes of their own that may write for a moment longer.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log.txt")
        command = [str(Path(sys.executable).with_name("tunesmith")), "serve", "--port", "0"]
        environment = {**os.environ, "HOME": folder, "OMP_NUM_THREADS": "1"}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--data-dir", str(Path(folder, "data"))],
                stdout=out,
                stderr=out,
                env=environment,
                start_new_session=True,
            )
        try:
            yield _when_ready(log, process, Path(folder, "data"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _when_ready(log: Path, process: "subprocess.Popen[bytes]", data_dir: Path) -> Served:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text("utf-8")
        address, key = re.search(r"serves on (http://\S+:\d+),", said), re.search(r"TINKER_API_KEY=(\S+)", said)
        if address and key and _healthy(address[1]):
            return Served(address[1], key[1], process.pid, data_dir)
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text('utf-8')}")


def _healthy(address: str) -> bool:
    try:
        with urlopen(f"{address}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
