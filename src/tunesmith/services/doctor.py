"""Whether this machine is fit for work: one look at each thing that jobs need, and the mend of what is not well."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunesmith.core.errors import UserError
from tunesmith.grading.sandbox import levels

Light = Literal["green", "amber", "red"]
GIB = 1 << 30
LITTLE_MEMORY, LEAST_MEMORY = 4 * GIB, GIB
LITTLE_DISK, LEAST_DISK = 5 * GIB, GIB
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    light: Light
    """green: well; amber: works, with less; red: jobs will fail."""
    saw: str
    mend: str
    """What to do; empty where nothing has to be done."""


def look_at_machine(data_dir: Path) -> list[Check]:
    """Python, torch, memory, disk and the sandbox, in this order."""
    return [_python(), _torch(), _memory(), _disk(data_dir), _sandbox()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "red", version, "Install Python 3.11 or newer, and Tunesmith into it")
    return Check("python", "green", version, "")


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as e:
        return Check("torch", "red", f"cannot be imported: {e}", "pip install --force-reinstall torch")
    saw = f"{torch.__version__}, {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        return Check("torch", "green", f"{saw}, no GPU: models of a few hundred million parameters", "")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("torch", "green", f"{saw}, {', '.join(names)}", "")


def _memory() -> Check:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    mend = "Close other programs, or take a smaller model or batch_size"
    return _amount("memory", _available_bytes() or free, LITTLE_MEMORY, LEAST_MEMORY, mend)


def _available_bytes() -> int:
    """What programs may still ask for, where the kernel says so: free pages and those that hold files alone."""
    file = Path("/proc/meminfo")
    lines = file.read_text("ascii").splitlines() if file.is_file() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)


def _disk(data_dir: Path) -> Check:
    there = next(folder for folder in (data_dir, *data_dir.parents) if folder.is_dir())
    mend = f"Make room, or put the data elsewhere: tunesmith serve --data-dir DIR ({data_dir} now)"
    return _amount("disk", shutil.disk_usage(there).free, LITTLE_DISK, LEAST_DISK, mend)


def _sandbox() -> Check:
    try:
        found = levels.found()
    except UserError as e:
        return Check("sandbox", "red", e.problem, e.mend)
    if found.level == "limits":
        why = "; ".join(f"{level}: {problem}" for level, problem in found.refused.items())
        return Check("sandbox", "amber", f"limits alone ({why})", levels.WARNING)
    return Check("sandbox", "green", found.level, "")


def _amount(name: str, there: int, little: int, least: int, mend: str) -> Check:
    light: Light = "red" if there < least else "amber" if there < little else "green"
    return Check(name, light, f"{there / GIB:.1f} GiB free", "" if light == "green" else mend)
