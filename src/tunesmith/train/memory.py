"""Telling an out-of-memory apart from other failures, on every device."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises a class of its own, the CPU allocator a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
