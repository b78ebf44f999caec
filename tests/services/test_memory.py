"""Peak memory is a process's own, whoever started it."""

import subprocess
import sys

from tunesmith.services.memory import peak_bytes

MB = 1 << 20
TELL = "from tunesmith.services.memory import peak_bytes; print(peak_bytes())"


def test_a_small_process_of_a_large_one_is_small() -> None:
    large = f"""
import subprocess, sys
held = bytearray(400 << 20)
print(subprocess.run([sys.executable, "-c", {TELL!r}], capture_output=True, text=True, check=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 * MB


def test_what_was_taken_and_given_back_counts() -> None:
    held = bytearray(100 * MB)
    with_it = peak_bytes()
    assert with_it > len(held)
    del held
    assert peak_bytes() > with_it - MB, "the system counts in bundles of pages"
