"""The commands about jobs, against a real server: from files to a model that is chatted with."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SETTINGS = "--base-model test/tiny --learning-rate 5e-4 --lora-rank 4 --max-context-length 64".split()
RFT = "--evaluator contains --chunk-size 4 --n 4 --max-tokens 16 --top-k 0".split()
GRADER = "def grade(completion, row):\n    return float(len(str(completion)) % 3)\n"


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def queued(shell, files):
    """The id of a job that is paused at once, so that it costs nothing."""
    made = shell("sft", "create", "--dataset", str(files / "sft.jsonl"), *SETTINGS, "--json").json["id"]
    shell("jobs", "pause", made)
    until(lambda: shell("jobs", "get", made, "--json").json["state"] == "paused")
    yield made
    shell("jobs", "delete", made, "--yes")


@pytest.mark.thorough
def test_a_job_from_a_file_to_a_model(shell, trainer, files, tmp_path):
    words = ["--dataset", str(files / "rft.jsonl"), *SETTINGS, *RFT]
    done = shell("rft", "create", *words, "--name", "sums", "--output-model", "sums-1", "--follow", "--json")
    assert "uploaded rft.jsonl as rft-" in done.err
    assert f"{trainer.base_url}/dashboard/fine-tuning/reinforcement/sums" in done.err
    assert "the job is running" in done.err and "reward" in done.err and "3/3" in done.err
    assert (done.json["state"], done.json["model"], done.json["progress"]["percent"]) == ("succeeded", "sums-1", 100)
    job = done.json["id"]
    assert [row["step"] for row in shell("jobs", "metrics", "sums", "--json").json] == [0, 1, 2, 3]
    assert "rollout/reward_mean" in shell("jobs", "metrics", "sums").out.splitlines()[0]
    assert (
        shell("jobs", "metrics", "sums", "--name", "loss/polic", code=2).err.count("Did you mean 'loss/policy'?") == 1
    )
    assert shell("jobs", "logs", job).out == shell("jobs", "logs", job, "--follow").out != ""
    assert "the job is succeeded" in shell("jobs", "events", "sum").out
    assert shell("jobs", "events", "sums", "--follow", "--json").json["to_state"] == "succeeded"
    assert "chat with it          tunesmith chat sums-1" in shell("jobs", "get", "sums").out
    shell("jobs", "findings", "sums")
    pieces = [json.loads(line) for line in shell("jobs", "logs", "sums", "--follow", "--json").out.splitlines()]
    assert "".join(piece["text"] for piece in pieces) == shell("jobs", "logs", job).out
    assert {"findings", "change", "fork_at"} == shell("jobs", "advise", "sums", "--json").json.keys()
    assert shell("jobs", "advise", "sums").out
    assert "<svg" in Path(shell("jobs", "report", "sums").out.strip()).read_text()
    assert shell("jobs", "report", "sums", "--json").json["bytes"] > 1000
    for words in (["jobs", "download", "sums"], ["models", "download", "sums-1"]):
        with tarfile.open(tmp_path / shell(*words).out.strip()) as archive:
            assert any(name.endswith("adapter_model.safetensors") for name in archive.getnames())
    assert shell("chat", "sums-1", "What is 1+1?", "--max-tokens", "4", "--seed", "1").out
    answer = shell("chat", "sums-1", "What is 1+1?", "--max-tokens", "4", "--json").json
    assert answer["usage"]["completion_tokens"] <= 4
    assert shell("models", "get", "sums-1", "--json").json["job_id"] == job
    assert "sums-2" in shell("models", "rename", "sums-1", "sums-2").err
    shell("models", "delete", "sums-2", "--yes")
    assert shell("models", "get", "sums-2", code=3).err.startswith("error: model: no model is called 'sums-2'.")


@pytest.mark.thorough
def test_what_comes_of_a_job(shell, files, tmp_path):
    words = ["--dataset", str(files / "rft.jsonl"), *SETTINGS, *RFT, "--name", "base"]
    job = shell("rft", "create", *words, "--follow", "--json").json["id"]
    shell("jobs", "fork", "base", "--set", "no_such_setting=1", code=2)
    assert "Kept: 0, 2, 3" in shell("jobs", "fork", "base", "--at-step", "1", "--set", "seed=3", code=3).err
    done = shell("jobs", "fork", "base", "--at-step", "2", "--set", "learning_rate=4e-4", "--follow", "--json").json
    assert (done["state"], done["origin"]["job"], done["settings"]["learning_rate"]) == ("succeeded", job, 4e-4)
    assert (
        f"fork of               {job} at step 2: learning_rate 0.0005 -> 0.0004" in shell("jobs", "get", done["id"]).out
    )
    assert f"{done['id']} (" in shell("jobs", "get", "base").out
    advised = shell("jobs", "advise", "base", "--json").json
    assert "--apply" in shell("jobs", "advise", "base").out or advised["fork_at"] is None
    if advised["fork_at"] is not None:
        tried = shell("jobs", "advise", "base", "--apply", "--name", "tried", "--json").json
        shell("jobs", "cancel", "tried")
        assert list(tried["origin"]["changed"]) == [advised["change"]["setting"]]
    (tmp_path / "other.py").write_text(GRADER)
    found = shell("jobs", "regrade", "base", "--evaluator", "other.py::grade", "--steps", "1", "--json").json
    assert found["attempts"] == 12 and found["run"] == job
    assert "rank agreement" in shell("jobs", "regrade", "base", "--evaluator", "other.py::grade", "--steps", "1").out
    assert shell("jobs", "delete", done["id"], "--yes", "--json").json == {"id": done["id"], "deleted": True}


@pytest.mark.thorough
def test_a_goal_and_what_the_job_will_take(shell, files):
    words = ["--dataset", str(files / "rft.jsonl"), *SETTINGS, *RFT[:-2], "--goal", "safer"]
    said = shell("rft", "create", *words, "--dry-run")
    lines = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line.strip()}
    assert lines["temperature"] == ["0.4", "goal"] and lines["lora_rank"] == ["4", "flag"]
    assert lines["time"][1] in ("s", "min") and lines["peak"][-1] == "MB"
    plan = shell("rft", "create", *words, "--dry-run", "--json").json
    assert plan["rehearsal"]["steps"] == plan["steps"] and plan["rehearsal"]["seconds"] > 0
    made = shell("rft", "create", *words, "--json").json
    assert made["settings"]["goal"] == "safer"
    shell("jobs", "delete", made["id"], "--yes")


def test_the_same_file_is_sent_once(shell, files, queued):
    again = shell("sft", "create", "--dataset", str(files / "sft.jsonl"), *SETTINGS, "--dry-run", "--json")
    assert "uploaded" not in again.err
    assert again.json["origins"]["lora_rank"] == "given"
    lines = shell("sft", "create", "--dataset", str(files / "sft.jsonl"), *SETTINGS, "--dry-run").out.splitlines()
    assert next(line for line in lines if line.startswith("lora_rank")).split() == ["lora_rank", "4", "flag"]
    assert next(line for line in lines if line.startswith("seed")).split() == ["seed", "0", "default"]


def test_an_evaluator_in_a_file_is_uploaded(shell, files, tmp_path):
    (tmp_path / "grader.py").write_text(GRADER)
    words = ["--dataset", str(files / "rft.jsonl"), *SETTINGS, *RFT[2:], "--evaluator", "grader.py::grade"]
    made = shell("rft", "create", *words, "--json").json
    assert made["settings"]["evaluator"].startswith("uploaded:grader-")
    name = made["settings"]["evaluator"].removeprefix("uploaded:")
    assert shell("evaluators", "get", name, "--json").json["state"] == "ACTIVE"
    assert "built" in shell("evaluators", "log", name).out
    assert name in shell("evaluators", "list").out
    assert shell("evaluators", "delete", name, "--yes", code=5).err.startswith("error: ")
    shell("jobs", "delete", made["id"], "--yes")
    shell("evaluators", "download", name, "--output", "back.py")
    assert (tmp_path / "back.py").read_text() == GRADER
    # A job that was running is gone when its worker has stopped.
    until(lambda: not shell("jobs", "list", "--kind", "rft", "--state", "deleting", "--json").json)
    shell("evaluators", "delete", name, "--yes")
    (tmp_path / "bad.py").write_text("import nothing_of_that_name\n")
    failed = shell("evaluators", "upload", "bad.py::grade", "--name", "bad", code=1)
    assert "nothing_of_that_name" in failed.err
    mixed = ["--evaluator", "grader.py::grade=0.5", "--evaluator", "contains"]
    assert "mixes a file" in shell("rft", "create", *words[:2], *mixed, code=2).err


def test_names_may_be_short(shell, queued):
    for name in (queued, queued[:14], "@latest"):
        assert shell("jobs", "get", name, "--json").json["id"] == queued
    cloned = shell("jobs", "clone", queued, "epochs=2", "--name", "other-one", "--json").json
    shell("jobs", "cancel", cloned["id"])
    assert cloned["settings"]["epochs"] == 2
    assert shell("jobs", "get", "other", "--json").json["id"] == cloned["id"]
    other = shell("jobs", "clone", queued, "--json").json["id"]
    assert "may be any of" in shell("jobs", "get", "job-", code=5).err
    shell("jobs", "delete", other, "--yes")
    assert "Did you mean 'other-one'?" in shell("jobs", "get", "other-won", code=3).err
    shell("jobs", "delete", "other-one", "--yes")


def test_lists_are_tables_and_json(shell, queued):
    heading, *rows = shell("jobs", "list", "--kind", "sft", "--limit", "1").out.splitlines()
    assert heading.split() == ["id", "name", "kind", "state", "created", "why"]
    assert rows[0].startswith(queued)
    assert [job["id"] for job in shell("sftj", "list", "--json", "--limit", "1").json] == [queued]
    assert shell("jobs", "list", "--state", "odd", code=2).err.startswith("error: state: unknown 'odd'")


def test_verbs_that_move_a_job(shell, queued):
    assert shell("jobs", "resume", queued, "--json").json["state"] == "validating"
    assert shell("jobs", "cancel", queued).err.startswith(f"{queued} is cancel")
    assert shell("jobs", "pause", queued, code=5).err.startswith("error: ")


def test_exit_codes(shell, files, monkeypatch, tmp_path):
    assert shell("jobs", "get", "nothing", code=3)
    assert shell("sft", "create", "--dataset", "no-such-data", code=3)
    assert shell("sft", "create", "--dataset", "./no-such-file.jsonl", code=3)
    assert shell("sft", "create", "--dataset", str(files / "dpo.jsonl"), code=2)
    assert shell("sft", "create", "--dataset", "x", "--learning-rate", "9", code=2)
    assert shell("sft", "create", "--datset", "x", code=2).err.count("--dataset") == 1
    monkeypatch.setenv("TUNESMITH_API_KEY", "tml-wrong")
    assert shell("jobs", "list", code=4).err.startswith("error: x-api-key: unknown, revoked or expired key")
    assert "no server answers there" in shell("jobs", "list", "--url", "http://127.0.0.1:1", code=2).err


def test_ctrl_c_leaves_the_job(shell, queued):
    command = [sys.executable, "-m", "tunesmith.cli.main", "jobs", "follow", queued]
    shell("jobs", "resume", queued)
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None
        deadline = time.monotonic() + 30
        while "the job is" not in following.stderr.readline() and time.monotonic() < deadline:
            pass
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=30)
    assert following.returncode == 130
    assert f"tunesmith jobs follow {queued}" in said
    assert shell("jobs", "get", queued, "--json").json["state"] in ("validating", "queued", "running", "succeeded")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("tunesmith job", "jobs"), ("tunesmith jobs cl", "clone"), ("tunesmith rft create --eval", "--evaluator")],
)
def test_a_shell_completes(typed, offered):
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    environment = {**os.environ, "_TUNESMITH_COMPLETE": "complete_bash", **words}
    command = [str(Path(sys.executable).with_name("tunesmith"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split(), (done.stdout, done.stderr)


def test_nothing_of_a_broken_download_stays(shell, queued, tmp_path):
    assert shell("jobs", "download", queued, "--output", str(tmp_path / "x.tar"), code=3)
    assert list(tmp_path.glob("*x.tar*")) == []
