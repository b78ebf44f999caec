"""Death at every single durable operation, one after the other, and at those of a resumption."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fingerprint import fingerprint
from test_kill import go_on, job_settings
from zygote import Zygote

SHORT = {
    "rft": {"chunk_size": 6, "max_tokens": 2},
    "sft": {"batch_size_samples": 6},
    "dpo": {"batch_size_samples": 6, "eval_every": 0, "epochs": 1},
}
"""Two steps are enough to have a checkpoint before the last."""


def deaths(zygote: Zygote, spec: dict[str, Any], run: Path, every: int) -> Iterator[int]:
    """Leave what a job leaves that dies at its n-th operation, for every n until it comes through."""
    at = 1
    while True:
        ended = zygote.start(spec, fail_at=at)
        if ended.status == 0:
            shutil.rmtree(run)
            return
        assert ended.killed, ended.said
        yield at
        shutil.rmtree(run, ignore_errors=True)
        at += every


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("rft", 8),
        ("sft", 8),
        ("dpo", 8),
        ("rft, stopped early", 12),
        pytest.param("rft", 1, marks=pytest.mark.slow),
        pytest.param("sft", 1, marks=pytest.mark.slow),
        pytest.param("dpo", 1, marks=pytest.mark.slow),
        pytest.param("rft, stopped early", 1, marks=pytest.mark.slow),
        pytest.param("rft, all weights", 1, marks=pytest.mark.slow),
        pytest.param("sft, all weights", 1, marks=pytest.mark.slow),
        pytest.param("dpo, all weights", 1, marks=pytest.mark.slow),
    ],
)
def test_death_at_any_operation_is_undone_by_resuming(
    name: str, every: int, zygote: Zygote, undisturbed: Any, jobs_folder: Path, run_folder: Path
) -> None:
    spec = job_settings(name, jobs_folder) | SHORT.get(name, {})
    expected, _ = undisturbed(spec)
    points = 0
    for at in deaths(zygote, spec, run_folder, every):
        assert not go_on(zygote, spec, run_folder)
        assert fingerprint(run_folder) == expected, f"operation {at}"
        points += 1
    assert points > 60 / every


@pytest.mark.parametrize("name", ["rft", "sft", "dpo"])
def test_death_while_resuming_is_undone_too(
    name: str, zygote: Zygote, undisturbed: Any, jobs_folder: Path, run_folder: Path
) -> None:
    spec = job_settings(name, jobs_folder)
    expected, _ = undisturbed(spec)
    zygote.start(spec, fail_at=95)
    dead = run_folder.with_name("dead")
    shutil.copytree(run_folder, dead)
    for at in range(1, 20, 2):
        assert zygote.resume(run_folder, fail_at=at).killed
        assert not go_on(zygote, spec, run_folder)
        assert fingerprint(run_folder) == expected, f"operation {at} of the resumption"
        shutil.rmtree(run_folder)
        shutil.copytree(dead, run_folder)
    shutil.rmtree(dead)
