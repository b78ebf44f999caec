"""kill -9 at a random moment, then resume: the bytes of the run that was never killed."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from fingerprint import fingerprint
from tiny_jobs import settings
from zygote import Ended, Zygote

from tunesmith.services.run_folder import RunFolder

JOBS: dict[str, tuple[str, dict[str, Any], int]] = {
    "rft": ("rft", {}, 6),
    "rft, all weights": ("rft", {"lora_rank": 0, "rl_loss_method": "dapo", "save_every": 2}, 4),
    "rft, a user's grader": ("rft", {"evaluator": "grader.py::grade"}, 2),
    "rft, stopped early": ("rft", {"evaluator": "repetition", "epochs": 2}, 2),
    "sft": ("sft", {"eval_every": 1}, 6),
    "sft, all weights": ("sft", {"lora_rank": 0, "save_every": 2, "epochs": 2}, 6),
    "dpo": ("dpo", {"eval_every": 1, "epochs": 2}, 6),
    "dpo, all weights": ("dpo", {"lora_rank": 0, "save_every": 3}, 6),
}
"""Name -> (kind, settings, kills in the fast suite)."""


def job_settings(name: str, root: Path) -> dict[str, Any]:
    kind, changes, _ = JOBS[name]
    if "grader.py" in changes.get("evaluator", ""):
        changes = {**changes, "evaluator": f"{root}/data/{changes['evaluator']}"}
    return settings(kind, root, **changes)


def go_on(zygote: Zygote, spec: dict[str, Any], run: Path, kill_after_s: float | None = None) -> bool:
    """Resume, or start where no run was left; True when that was killed too, or had nothing left to do."""
    if not (run / "state.json").exists():
        ended = zygote.start(spec, kill_after_s=kill_after_s)
    elif RunFolder(run).state().state in ("COMPLETED", "EARLY_STOPPED") and RunFolder(run).card():
        return False
    else:
        ended = zygote.resume(run, kill_after_s=kill_after_s)
    assert ended.status == 0 or ended.killed, ended.said
    return ended.killed


def kill_and_resume(zygote: Zygote, spec: dict[str, Any], run: Path, length_s: float, rng: random.Random) -> Ended:
    """Kill a job, and one time in three its first resumption as well; returns how the first attempt ended."""
    first = zygote.start(spec, kill_after_s=rng.uniform(0, length_s))
    assert first.status == 0 or first.killed, first.said
    if rng.random() < 1 / 3:
        go_on(zygote, spec, run, kill_after_s=rng.uniform(0, length_s))
    assert not go_on(zygote, spec, run)
    return first


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("times", [1, pytest.param(16, marks=pytest.mark.slow)], ids=["few", "many"])
def test_a_killed_job_resumes_to_the_same_bytes(
    name: str, times: int, zygote: Zygote, undisturbed: Any, jobs_folder: Path, run_folder: Path
) -> None:
    spec = job_settings(name, jobs_folder)
    expected, length_s = undisturbed(spec)
    rng = random.Random(f"{name}, {times}")
    wanted, kills, attempts = JOBS[name][2] * times, 0, 0
    while kills < wanted:
        ended = kill_and_resume(zygote, spec, run_folder, length_s, rng)
        assert fingerprint(run_folder) == expected, f"attempt {attempts}"
        shutil.rmtree(run_folder)
        kills, attempts = kills + ended.killed, attempts + 1
        if not ended.killed:  # the machine is less busy than when the length was measured
            length_s = min(length_s, ended.seconds)
        assert attempts <= 4 * wanted, "most jobs end before they are killed"
