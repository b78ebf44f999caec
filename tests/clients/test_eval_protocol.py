"""A project of eval-protocol's users, as the documentation has it: its own command uploads it and trains with it."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clients.environments import python_of, variables
from docs.pages import named_files, page
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.services.evaluator_builds import EVAL_PROTOCOL, environment_name

pytestmark = pytest.mark.slow
SUMS = [(a, b) for a in range(14, 20) for b in range(25, 50) if a % 10 + b % 10 > 9]
FLAGS = {
    "--base-model": "tunesmith/embedded",
    "--output-model": "sums",
    "--learning-rate": "5e-4",
    "--chunk-size": "16",
    "--max-output-tokens": "32",
    "--batch-size": "4096",
}
JOBS = "/v1/accounts/default/reinforcementFineTuningJobs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(the server, what the command said, the job when it has ended)."""
    python = python_of("eval-protocol")
    folder = tmp_path_factory.mktemp("eval-protocol")
    running = WarmServer(folder / "data").start()
    try:
        environments = running.data_dir / "environments"
        environments.mkdir()
        (environments / environment_name(EVAL_PROTOCOL)).symlink_to(python.parents[1])
        said = create_rft(python, running, folder / "project")
        yield running, said, ended(running)
    finally:
        running.kill()


def create_rft(python: Path, server: RunningServer, project: Path) -> str:
    project.mkdir()
    (project / "test_sums.py").write_text(named_files(page("evaluators.md"))["test_sums.py"])
    (project / "requirements.txt").write_text("")
    rows = ({"messages": [user(f"What is {a} + {b}?")], "ground_truth": str(a + b)} for a, b in SUMS)
    (project / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    home = project.parent / "home"
    home.mkdir()
    ours = {
        "FIREWORKS_API_KEY": "fw_" + server.key.removeprefix("tml-"),
        "FIREWORKS_API_BASE": server.base_url.replace("127.0.0.1", "localhost"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(python.with_name("eval-protocol")), "create", "rft", "--yes", *sum(FLAGS.items(), ())]
    done = subprocess.run(
        command, cwd=project, env=variables(server, home) | ours, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def ask(server: RunningServer, method: str, path: str, **request: Any) -> Any:
    headers = {"authorization": f"Bearer {server.key}"}
    answer = httpx2.request(method, server.base_url + path, headers=headers, timeout=60, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(server: RunningServer) -> Any:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        (job,) = ask(server, "GET", JOBS)["reinforcementFineTuningJobs"]
        if job.get("completedTime"):
            return job
        time.sleep(0.5)
    raise AssertionError(f"the job did not end: {job}")


def test_the_command_builds_the_evaluator_and_creates_the_job(trained: Any):
    server, said, _ = trained
    assert "Evaluator is ACTIVE" in said and "Created Reinforcement Fine-tuning Job" in said
    assert ask(server, "GET", "/v1/accounts/default/evaluators/test-sums-test-sums")["state"] == "ACTIVE"


def test_the_job_trains_with_the_project(trained: Any):
    _, _, job = trained
    assert job["state"] == "JOB_STATE_COMPLETED", job
    assert job["evaluator"] == "accounts/default/evaluators/test-sums-test-sums"
    lines = httpx2.get(job["metricsFileSignedUrl"]).text.splitlines()
    rewards = [m["rollout/reward_mean"] for m in map(json.loads, lines) if "rollout/reward_mean" in m]
    assert rewards[-1] > rewards[0] + 0.3


def test_the_tuned_model_answers(trained: Any):
    server, _, _ = trained
    body = {"model": "accounts/default/models/sums", "messages": [user("What is 17 + 38?")], "temperature": 0}
    answer = ask(server, "POST", "/inference/v1/chat/completions", json={**body, "max_tokens": 32})
    assert answer["choices"][0]["message"]["content"].endswith("55")


def test_secrets_of_the_environment_are_kept_and_not_shown(trained: Any):
    server, _, _ = trained
    secret = ask(server, "GET", "/v1/accounts/default/secrets/fireworks-api-key")
    assert secret["keyName"] == "FIREWORKS_API_KEY" and server.key[4:] not in json.dumps(secret)
