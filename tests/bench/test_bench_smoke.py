"""The benchmark runs: our side and the machine's limits; the peer takes too long to load for a test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_quick_prints_a_line_for_each_kind_of_job() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    first, *kinds = done.stdout.splitlines()
    assert first.startswith("Limits(pass_gflops=")
    assert [line.partition(":")[0] for line in kinds] == ["rft", "sft", "dpo"]
    assert kinds[0].endswith("gap 0")


@pytest.mark.thorough
def test_starts_are_compared() -> None:
    command = [sys.executable, "-m", "bench.starts", "--rounds", "1", "--no-write"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert re.search(r"An engine process until .* \| [0-9.]+ s against [0-9.]+ s from nothing \|", done.stdout)
    assert re.search(r"shares with no other \| \d+ MB against \d+ MB", done.stdout)


@pytest.mark.thorough
def test_without_cuda_the_gpu_benchmark_says_so() -> None:
    command = [sys.executable, "-m", "bench.gpu"]
    done = subprocess.run(
        command, cwd=ROOT, env={"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True
    )
    assert "no CUDA device here" in done.stdout
