"""Whole jobs that train with eval-protocol projects: they learn, repeat to the bit, and survive a kill."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash.fingerprint import fingerprint
from evaluators.projects import GROUPWISE, NUMBERS, POINTWISE, TURNS, packed

from tunesmith.models.chat import load_renderer
from tunesmith.services import worker
from tunesmith.services.evaluator_builds import build
from tunesmith.services.names import embedded_model
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

pytestmark = pytest.mark.thorough
PROJECTS = {
    "single": (POINTWISE, "test_sum"),
    "turns": (TURNS, "test_twice"),
    "rewrites": (TURNS.replace("REWRITES = False", "REWRITES = True"), "test_twice"),
    "group": (GROUPWISE, "test_together"),
}
SUMS = [(a, b) for a in range(14, 20) for b in range(25, 50) if a % 10 + b % 10 > 9]
FEW: dict[str, Any] = {"count": 16, "chunk_size": 5, "response_candidates_count": 4, "eval_auto_carveout": False}
"""Four steps of twenty rollouts or fewer."""
ONE_STEP: dict[str, Any] = {"count": 16, "chunk_size": 16, "learning_rate": 1e-5}
DIES_AFTER_A_STEP = """
import json, os, signal, sys
from tunesmith.services import worker
from tunesmith.services.keeping import Watcher
from tunesmith.spec import build_spec
dies = Watcher(stepped=lambda report: report.step and os.kill(os.getpid(), signal.SIGKILL))
worker.start(build_spec(json.loads(sys.argv[1]), "rft"), dies)
"""
Settings = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def built(environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a project that was built."""
    made: dict[str, Path] = {}

    def one(name: str) -> Path:
        if name not in made:
            source, function = PROJECTS[name]
            folder = tmp_path_factory.mktemp(name)
            upload = folder / "project.tar.gz"
            upload.write_bytes(packed({"evals.py": source, "numbers_of.py": NUMBERS, "requirements.txt": ""}))
            build(upload, folder, f"evals.py::{function}", environments, {}, lambda text: None)
            made[name] = folder
        return made[name]

    return one


@pytest.fixture
def settings(built: Callable[[str], Path], tmp_path: Path) -> Settings:
    def of(name: str, run: str = "run", count: int = len(SUMS), **changes: Any) -> dict[str, Any]:
        rows = [
            {"messages": [{"role": "user", "content": f"What is {a} + {b}?"}], "ground_truth": str(a + b)}
            for a, b in SUMS[:count]
        ]
        (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {"base_model": "embedded", "dataset": str(tmp_path / "sums.jsonl"), "output_dir": str(tmp_path / run)}
        shape = {"learning_rate": 5e-4, "chunk_size": 12, "batch_size": "4k", "max_tokens": 32, "limits": "off"}
        return {"kind": "rft", **given, **shape, "evaluator": f"project:{built(name)}", **changes}

    return of


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def done(settings: dict[str, Any]) -> RunFolder:
    return worker.start(build_spec(settings, "rft"))


def test_a_job_learns_from_a_project(settings: Settings):
    run = done(settings("single"))
    card, metrics = run.card(), run.metrics()
    assert card["heldout_reward_after"] > card["heldout_reward_before"] + 0.3
    assert card["sampler_gap_max"] == 0.0
    assert metrics[1]["rollout/failed_share"] == 0 and metrics[1]["part/number/raw"] > 0.9
    assert run.read_rollouts("step", 1)[0]["reason"].startswith("found ")


@pytest.mark.slow
def test_many_turns_are_learned(settings: Settings):
    metrics = done(settings("turns", chunk_size=24, epochs=1)).metrics()
    assert max(m.get("gap/max", 0.0) for m in metrics) == 0.0
    assert metrics[-1]["rollout/reward_mean"] > metrics[1]["rollout/reward_mean"] + 0.2


def test_many_turns_are_one_segment_with_a_gap_of_0(settings: Settings):
    run = done(settings("turns", **ONE_STEP))
    metrics = run.metrics()[1]
    assert metrics["gap/max"] == 0.0
    assert metrics["rollout/turns_mean"] == 2 and metrics["rollout/rewrites"] == 0
    attempt = run.read_rollouts("step", 1)[0]
    text = load_renderer(embedded_model()).spell(attempt["tokens"])
    assert text.count("<|im_start|>assistant\n") == 2 and text.count("What is") == 2
    starts = np.flatnonzero(np.diff(np.array(attempt["sampled"], int), prepend=0) == 1)
    assert len(starts) == 2 and attempt["segment_lengths"] == [len(attempt["tokens"])]


def test_a_rewritten_history_is_counted(settings: Settings):
    run = done(settings("rewrites", **ONE_STEP))
    metrics = run.metrics()[1]
    assert metrics["rollout/rewrites"] == metrics["rollout/rollouts"] and metrics["gap/max"] == 0.0
    assert len(run.read_rollouts("step", 1)[0]["segment_lengths"]) == 2


def test_a_group_is_scored_in_one_call(settings: Settings):
    run = done(settings("group", **ONE_STEP))
    rows = run.read_rollouts("step", 1)
    rewards: dict[str, list[float]] = {}
    for row in rows:
        rewards.setdefault(row["prompt_id"], []).append(row["reward"])
    assert all(sum(group) == pytest.approx(1.0) or not any(group) for group in rewards.values())
    assert {len(group) for group in rewards.values()} == {8}


def test_the_same_bits_whatever_the_concurrency_and_after_a_kill(settings: Settings):
    whole = fingerprint(done(settings("turns", "whole", **FEW, max_concurrent_rollouts=96)).path)
    spec = settings("turns", "killed", **FEW, max_concurrent_rollouts=5)
    child = subprocess.run([sys.executable, "-c", DIES_AFTER_A_STEP, json.dumps(spec)], check=False)
    assert child.returncode == -signal.SIGKILL
    run = RunFolder(Path(spec["output_dir"]))
    assert (run.state().state, run.state().step) == ("RUNNING", 1)
    assert fingerprint(worker.resume(run).path) == whole
