"""What a plan says before a job is run, held against the run."""

import json
import os
import subprocess
import sys
from statistics import fmean

import pytest
import yaml
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.errors import UserError
from tunesmith.services import rehearsal, worker
from tunesmith.services.demo import demo_spec
from tunesmith.spec import build_spec

TIME, MEMORY = 0.30, 0.20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("plans")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.mark.thorough
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


def started(*arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "tunesmith.cli.main", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[dict[str, float], int]:
    """(the JSON of its last line, its largest resident set in bytes)."""
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1]), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def runs(process: subprocess.Popen[str]) -> bool:
    """Without taking what it used from ``ended``."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@pytest.mark.slow
def test_plans_of_the_demo_are_about_right(tmp_path):
    """Made one after the other while it runs: whatever else the machine does meanwhile, it does to both."""
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump(demo_spec(tmp_path / "rows").model_dump()))
    demo, plans = started("demo", "--output-dir", str(tmp_path / "demo")), []
    while runs(demo):
        plans.append(ended(started("plan", str(file)))[0])
    card, peak = ended(demo)
    assert plans and {plan["steps"] for plan in plans} == {card["steps"]}
    time_off = fmean(plan["seconds"] for plan in plans) / card["seconds"] - 1
    memory_off = fmean(plan["peak_memory_bytes"] for plan in plans) / peak - 1
    print(f"{len(plans)} plans: time {time_off:+.0%}, memory {memory_off:+.0%}")
    assert abs(time_off) <= TIME and abs(memory_off) <= MEMORY
