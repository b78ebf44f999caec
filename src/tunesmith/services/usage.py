"""What this process uses of the machine, asked once a step."""

import resource
import subprocess
import time
from pathlib import Path

import torch

from tunesmith.core.types import Metrics

STATM = Path("/proc/self/statm")
ASK = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
ASK_S = 2.0
"""Seconds that the driver has to answer."""


class Usage:
    """Processors and memory of this process, and its GPU's, as ``machine/`` metrics."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = (time.monotonic(), time.process_time())

    def now(self) -> Metrics:
        """Processors in use on average since the last call, 1 is one core all the time; the rest as it is now."""
        moment, cpu = time.monotonic(), time.process_time()
        (before, cpu_before), self._before = self._before, (moment, cpu)
        found = {"machine/processors": (cpu - cpu_before) / max(moment - before, 1e-3)}
        if STATM.is_file():
            pages = int(STATM.read_text().split()[1])
            found["machine/memory_mib"] = pages * resource.getpagesize() / 2**20
        return found | (_gpu(self._device) if self._device.type == "cuda" else {})


def _gpu(device: torch.device) -> Metrics:
    """Memory that tensors hold, and the share of the last moments in which the GPU was busy, where its driver says."""
    found = {"machine/gpu_memory_mib": torch.cuda.memory_allocated(device) / 2**20}
    name = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        said = subprocess.run([*ASK, name], capture_output=True, text=True, timeout=ASK_S, check=True).stdout
        return found | {"machine/gpu_share": float(said) / 100}
    except (OSError, ValueError, subprocess.SubprocessError):
        return found
