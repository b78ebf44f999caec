"""The faces that scripts may rely on: commands, exit codes, and the JSON on the last line of stdout."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tunesmith.cli.main import build
from tunesmith.core.errors import UserError

CARD = {
    "run_dir",
    "steps",
    "result_step",
    "optimizer_updates",
    "weight_change_norm",
    "sampler_gap_max",
    "seconds",
    "state",
    "findings",
    "tokens_trained",
    "reproduce",
}
SAMPLED = {"heldout_ci95", "truncated_share", "reward_hack_signs", "tokens_sampled"}
CARD_OF = {
    "rft": CARD | SAMPLED | {"heldout_reward_before", "heldout_reward_after"},
    "sft": CARD | {"heldout_loss_before", "heldout_loss_after"},
    "dpo": CARD | {"heldout_loss_before", "heldout_loss_after"},
}
PLAN = {"steps", "rollouts_per_step", "optimizer_updates", "tokens", "peak_memory_bytes", "seconds"}
QUICK = {
    "rft": ["--evaluator", "last_number", "--max-tokens", "24", "--n", "4", "--learning-rate", "5e-4"],
    "sft": ["--batch-size-samples", "8", "--epochs", "2", "--learning-rate", "5e-4"],
    "dpo": ["--batch-size-samples", "4", "--learning-rate", "1e-4"],
}


def call(*arguments: str) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(build(arguments[0]), list(arguments))


def last_json(*arguments: str) -> dict[str, Any]:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory) -> dict[str, tuple[str, dict[str, Any]]]:
    """One finished run of each kind: its folder and the card it printed."""
    out = {}
    for kind in ("rft", "sft", "dpo"):
        folder = str(tmp_path_factory.mktemp("runs") / kind)
        flags = ["--dataset", files[kind], "--output-dir", folder, *QUICK[kind]]
        out[kind] = folder, last_json(kind, "run", *flags, "--json")
    return out


@pytest.mark.parametrize("kind", CARD_OF)
def test_the_card_of_a_run(kind, runs):
    folder, card = runs[kind]
    assert set(card) == CARD_OF[kind]
    assert card["state"] == "COMPLETED"
    assert card["run_dir"] == folder
    assert card["weight_change_norm"] > 0
    assert json.loads(Path(folder, "card.json").read_text()) == card
    for name in ("spec.yaml", "state.json", "metrics.jsonl", "report.html", "log.txt", "adapter/adapter_config.json"):
        assert Path(folder, name).is_file(), name


def test_dpo_begins_at_ln_2_and_ranks_better(runs):
    card = runs["dpo"][1]
    assert card["heldout_loss_before"] == pytest.approx(0.693147, abs=1e-5)
    assert card["heldout_loss_after"] < card["heldout_loss_before"]


def test_sft_lowers_the_held_out_loss(runs):
    assert runs["sft"][1]["heldout_loss_after"] < runs["sft"][1]["heldout_loss_before"]


def test_the_sampler_is_the_trainer(runs):
    assert runs["rft"][1]["sampler_gap_max"] == 0.0


def test_eval(runs, files):
    found = last_json("eval", runs["rft"][0], "--n", "2", "--json")
    assert {"reward_mean", "reward_ci95", "rows", "samples", "failed_share"} <= set(found)
    assert 0 <= found["reward_mean"] <= 1
    other = last_json("eval", "embedded", "--dataset", files["rft"], "--evaluator", "last_number", "--json")
    assert other["rows"] == 16


def test_sample(runs):
    answer = last_json("sample", runs["rft"][0], "What is 27 + 45?", "--max-tokens", "24", "--json")
    assert len(answer["tokens"]) == len(answer["logprobs"]) > 0
    assert call("sample", runs["sft"][0], "What is 27 + 45?", "--max-tokens", "24").stdout.strip()


def test_compare_says_when_more_than_one_setting_differs(runs, files, tmp_path):
    other = str(tmp_path / "other")
    flags = ["--dataset", files["dpo"], "--output-dir", other, *QUICK["dpo"], "--dpo-beta", "0.2", "--seed", "1"]
    last_json("dpo", "run", *flags, "--json")
    found = last_json("compare", runs["dpo"][0], other, "--json")
    text = call("compare", runs["dpo"][0], other).stdout
    assert "dpo_beta" in json.dumps(found)
    assert "no single cause" in text


def test_plan_takes_the_same_file_as_run(files, tmp_path):
    spec = {"kind": "sft", "dataset": files["sft"], "batch_size_samples": 4, "learning_rate": 5e-4}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec))
    plan = last_json("plan", str(tmp_path / "job.yaml"), "--json")
    assert set(plan) == PLAN
    folder = str(tmp_path / "run")
    card = last_json("sft", "run", "--spec", str(tmp_path / "job.yaml"), "--output-dir", folder, "--json")
    assert (plan["steps"], plan["optimizer_updates"]) == (card["steps"], card["optimizer_updates"])
    assert plan["seconds"] > 0
    assert plan["peak_memory_bytes"] > 2**27


def test_plan_of_rft_counts_rollouts(files, tmp_path):
    spec = {"kind": "rft", "dataset": files["rft"], "evaluator": "last_number", "max_tokens": 24, "epochs": 3}
    (tmp_path / "job.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in spec.items()))
    plan = last_json("plan", str(tmp_path / "job.toml"), "--json")
    assert (plan["steps"], plan["rollouts_per_step"]) == (3, 15 * 8)  # 16 rows, 1 held out


def test_dataset_check(files, tmp_path):
    assert last_json("dataset", "check", files["sft"], "--kind", "sft", "--json")["ok"] is True
    bad = tmp_path / "bad.jsonl"
    bad.write_text(Path(files["sft"]).read_text() + '{"messages": [}\n')
    result = call("dataset", "check", str(bad), "--kind", "sft", "--json")
    found = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 2
    assert found["ok"] is False
    assert found["problem_list"][0]["line"] == 17


def test_dataset_preview_shows_the_rendered_row(files):
    text = call("dataset", "preview", files["sft"], "--kind", "sft", "--rows", "1").stdout
    assert "What is 15 + 25?" in text
    assert "<|im_end|>" in text


def test_evaluator_test(files, tmp_path):
    grader = tmp_path / "half.py"
    grader.write_text("def grade(completion, row):\n    return row['ground_truth'] in completion\n")
    flags = ["--dataset", files["rft"], "--base-model", "embedded", "--n", "4", "--rows", "4", "--max-tokens", "24"]
    found = last_json("evaluator", "test", f"{grader}::grade", *flags, "--json")
    assert found["attempts"] == 16
    assert found["failures"] == {}
    assert 0 <= found["groups_with_signal"] <= 1
    assert found["ms_per_call"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "missing.jsonl"], "missing.jsonl"),
        (["--learning-rate", "1"], "outside valid range [1e-5, 5e-4] (got 1)"),
        (["--base-model", "nowhere"], "no such base model"),
        (["--evaluator", "lats_number"], "Did you mean 'last_number'?"),
        (["--max-context-length", "16"], "leaves no room for a prompt"),
        (["--max-context-length", "32"], "prompt tokens + max_tokens 24, limit 32"),
        (["--lora-rank", "0", "--lora-head"], "lora_head: adapts the head of an adapter, and lora_rank 0 makes none"),
    ],
)
def test_refused_input_writes_nothing(arguments, says, files, tmp_path):
    folder = tmp_path / "run"
    flags = ["--dataset", files["rft"], "--output-dir", str(folder), *QUICK["rft"], *arguments]
    result = call("rft", "run", *flags)
    assert isinstance(result.exception, UserError)
    assert says in str(result.exception)
    assert not folder.exists()


def tunesmith(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tunesmith.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_refusal_is_one_line_on_stderr_and_exit_code_2(files, tmp_path):
    process = tunesmith("rft", "run", "--dataset", files["rft"], "--evaluator", "x", "--epochs", "99", cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: epochs: outside valid range [1, 10] (got 99)")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_stops_cleanly_and_resume_goes_on(files, tmp_path):
    flags = ["--dataset", files["sft"], "--output-dir", "run", "--batch-size-samples", "1", "--epochs", "10"]
    process = tunesmith("sft", "run", *flags, cwd=tmp_path, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "tunesmith resume run" in err
    assert json.loads((tmp_path / "run" / "state.json").read_text())["state"] == "PAUSED"
    card = last_json("resume", str(tmp_path / "run"), "--json")
    assert (card["state"], card["steps"]) == ("COMPLETED", 150)


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, time\nbegan = time.process_time()\nsys.argv = ['tunesmith', '--help']\n"
        "from tunesmith.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'fastapi'} & set(sys.modules)\n"
        "print(heavy or 'nothing heavy', time.process_time() - began, file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.startswith("nothing heavy"), done.stderr
        seconds.append(float(done.stderr.split()[-1]))
    assert min(seconds) < 0.3
