"""What this machine can do at most, and what it is: the yardstick beside every number."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

PACKAGES = ("torch", "trl", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class Limits:
    """Measured on one thread, the best of several tries."""

    pass_gflops: float
    """Float32 matrix product of a training pass: 2048 x 256 x 1376."""
    decode_gflops: float
    """Float32 matrix product of a decoding step: 32 x 256 x 1376."""
    copy_gb_s: float
    """Memory bandwidth of a copy, read and write counted."""

    def or_better(self, other: "Limits") -> "Limits":
        """A limit is what was reached at any time."""
        return Limits(*map(max, astuple(self), astuple(other)))


def measure(tries: int = 7) -> Limits:
    import torch

    torch.set_num_threads(1)

    def product(rows: int) -> float:
        x, w = torch.randn(rows, 256), torch.randn(1376, 256)
        repeats = max(1, 4096 // rows)
        seconds = best(lambda: [torch.nn.functional.linear(x, w) for _ in range(repeats)], tries)
        return 2e-9 * rows * 256 * 1376 * repeats / seconds

    a = torch.zeros(1 << 26)  # 256 MB, far more than any cache
    b = torch.empty_like(a)
    return Limits(product(2048), product(32), 2e-9 * a.nbytes / best(lambda: b.copy_(a), tries))


def best(work: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest try, after one that is not counted."""
    work()
    seconds = []
    for _ in range(tries):
        began = perf_counter()
        work()
        seconds.append(perf_counter() - began)
    return min(seconds)


def describe() -> dict[str, str]:
    """Machine and versions, for the head of a report."""
    return {
        "Machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "Load": f"{os.getloadavg()[0]:.1f} running processes over the last minute, before the benchmark",
        "Threads": "1 for either side",
        "Python": platform.python_version(),
        **dict(_versions()),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Of the packages that are here: only who races the peer has it."""
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
