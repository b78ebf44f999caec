"""The benchmark runs: our side and the machine's limits; the peer takes too long to load for a test."""

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
def test_without_cuda_the_gpu_benchmark_says_so() -> None:
    command = [sys.executable, "-m", "bench.gpu"]
    done = subprocess.run(
        command, cwd=ROOT, env={"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True
    )
    assert "no CUDA device here" in done.stdout
