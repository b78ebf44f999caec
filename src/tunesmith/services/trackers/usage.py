"""What the process that started this one uses of the machine."""

import os
import resource
import time
from pathlib import Path

from tunesmith.core.types import Metrics

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Usage:
    """Memory and processor time of the parent process, as ``machine/`` metrics; empty where /proc has none."""

    def __init__(self) -> None:
        self._folder = Path(f"/proc/{os.getppid()}")
        self._before = (time.monotonic(), self._cpu_s())

    def now(self) -> Metrics:
        """Memory in MB, and processors in use since the last call: 1 is one core, all the time."""
        moment, cpu = time.monotonic(), self._cpu_s()
        (before, cpu_before), self._before = self._before, (moment, cpu)
        try:
            pages = int((self._folder / "statm").read_text().split()[1])
        except OSError:
            return {}
        memory = {"machine/memory_mb": pages * resource.getpagesize() / 2**20}
        if cpu is None or cpu_before is None:
            return memory
        return memory | {"machine/processors": (cpu - cpu_before) / max(moment - before, 1e-3)}

    def _cpu_s(self) -> float | None:
        try:
            # The name in brackets may hold anything, spaces too.
            fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) * TICK_S
