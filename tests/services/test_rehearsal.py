"""What a plan says before a job is run, held against the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.errors import UserError
from tunesmith.services import rehearsal, worker
from tunesmith.spec import build_spec

TIME, MEMORY = 0.30, 0.20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("plans")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.mark.parametrize(
    ("kind", "changes", "steps", "rollouts"),
    [
        ("rft", {}, 3, 16),  # 11 rows in chunks of 4, 4 responses each
        ("rft", {"chunk_size": -1, "epochs": 5}, 5, 44),
        ("sft", {"epochs": 2}, 6, 0),
        ("dpo", {}, 3, 0),
    ],
)
def test_a_plan_counts_as_the_job_does(root, tmp_path, kind, changes, steps, rollouts):
    spec = build_spec(settings(kind, root, output_dir=str(tmp_path / "run"), **changes))
    plan = rehearsal.plan(spec).as_dict()
    assert not (tmp_path / "run").exists()
    assert (plan["steps"], plan["rollouts_per_step"]) == (steps, rollouts)
    assert plan["optimizer_updates"] == steps
    assert plan["tokens"] > 0
    assert plan["seconds"] > 0
    assert plan["peak_memory_bytes"] > 100 * 2**20
    run = worker.start(spec)
    assert run.state().num_steps == steps
    if kind != "rft":
        trained = sum(m["train/tokens"] for m in run.metrics()[1:])
        assert plan["tokens"] == pytest.approx(trained, rel=0.25)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"evaluator": "exact_mach"}, "Did you mean 'exact_match'"),
        ({"max_tokens": 60}, "limit 64"),
        ({"base_model": "nowhere"}, "no such base model"),
    ],
)
def test_a_plan_refuses_what_the_job_would(root, changes, says):
    with pytest.raises(UserError, match=says):
        rehearsal.plan(build_spec(settings("rft", root, **changes)))


def sums(path: Path) -> str:
    rows = [(a, b) for a in range(11, 19) for b in range(21, 36)]
    asked = [
        {"messages": [{"role": "user", "content": f"What is {a} + {b}?"}], "ground_truth": str(a + b)} for a, b in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in asked))
    return str(path)


def tunesmith(*arguments: str) -> tuple[dict[str, float], int]:
    """(the JSON of the last line, largest resident set in bytes) of a command in a process of its own."""
    command = [sys.executable, "-m", "tunesmith.cli.main", *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1]), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
def test_a_plan_is_about_right(tmp_path):
    """Time within 30%, memory within 20%; tried again where another process took the machine meanwhile."""
    spec = {
        **{"kind": "rft", "dataset": sums(tmp_path / "sums.jsonl"), "evaluator": "last_number", "max_tokens": 24},
        **{"max_context_length": 128, "chunk_size": 27, "epochs": 4, "learning_rate": 5e-5, "batch_size": "4k"},
    }
    off = []
    for attempt in range(2):
        file = tmp_path / f"job-{attempt}.yaml"
        file.write_text(yaml.safe_dump({**spec, "output_dir": str(tmp_path / f"run-{attempt}")}))
        plan, _ = tunesmith("plan", str(file))
        card, peak = tunesmith("rft", "run", "--spec", str(file))
        assert plan["steps"] == card["steps"] == 16
        time_off, memory_off = plan["seconds"] / card["seconds"] - 1, plan["peak_memory_bytes"] / peak - 1
        if abs(time_off) <= TIME and abs(memory_off) <= MEMORY:
            return
        off.append(f"time {time_off:+.0%}, memory {memory_off:+.0%}")
    pytest.fail("; ".join(off))
