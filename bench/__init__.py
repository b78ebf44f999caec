"""Tunesmith against its peer on the same machine: time per step, peak memory, and how far both are from the limits."""
