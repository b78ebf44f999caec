"""A project whose rollouts a remote server makes: the example, uploaded and trained by eval-protocol's own command."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clients.environments import python_of, variables
from crash.fingerprint import fingerprint
from docs.pages import ROOT
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.services.evaluator_builds import EVAL_PROTOCOL, environment_name
from tunesmith.services.gateway.rollouts import key_of as rollout_key
from tunesmith.services.keys import Keys
from tunesmith.services.store import file_url, open_store

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "remote_rollouts"
ROWS = 32
"""Two steps."""
JOBS = "/v1/accounts/default/reinforcementFineTuningJobs"
FLAGS = {
    "--base-model": "tunesmith/embedded",
    "--output-model": "twice",
    "--learning-rate": "5e-4",
    "--chunk-size": "8",
    "--response-candidates-count": "8",
    "--max-output-tokens": "32",
    "--batch-size": "4096",
}


def key_of(server: RunningServer) -> str:
    return "fw_" + server.key.removeprefix("tml-")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = WarmServer(tmp_path_factory.mktemp("remote") / "data").start()
    try:
        environments = running.data_dir / "environments"
        environments.mkdir()
        (environments / environment_name(EVAL_PROTOCOL)).symlink_to(python_of("eval-protocol").parents[1])
        yield running
    finally:
        running.kill()


@contextmanager
def example_server(server: RunningServer, port: int) -> Iterator[None]:
    """The example's own server, as its README starts it."""
    environment = {
        **variables(server, server.data_dir.parent),
        "FW_TRACING_GATEWAY_BASE_URL": server.base_url,
        "FIREWORKS_API_KEY": key_of(server),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(python_of("eval-protocol")), str(EXAMPLE / "server.py"), "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/docs")
                break
            except httpx2.ConnectError:
                time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def ask(server: RunningServer, method: str, path: str, **request: Any) -> Any:
    headers = {"authorization": f"Bearer {server.key}"}
    answer = httpx2.request(method, server.base_url + path, headers=headers, timeout=60, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(server: RunningServer, job: str, seconds: float = 400) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ask(server, "GET", f"{JOBS}/{job}")
        if found.get("completedTime"):
            return found
        time.sleep(0.5)
    raise AssertionError(f"the job did not end: {found}")


def create(server: RunningServer, project: Path) -> str:
    """``eval-protocol create rft`` from a project; the job's name."""
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    base = server.base_url.replace("127.0.0.1", "localhost")
    ours = {
        "FIREWORKS_API_KEY": key_of(server),
        "FIREWORKS_API_BASE": base,
        "EP_MODEL_BASE_URL": base,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(python_of("eval-protocol").with_name("eval-protocol")), "create", "rft", "--yes"]
    done = subprocess.run(
        [*command, *sum(FLAGS.items(), ())],
        cwd=project,
        env=variables(server, home) | ours,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = re.search(r"reinforcementFineTuningJobs/([a-z0-9-]+)", done.stdout)
    assert found is not None, done.stdout[-2000:]
    return found[1]


def project_at(folder: Path, port: int) -> Path:
    """The example's project with fewer rows, whose remote server listens on another port."""
    shutil.copytree(EXAMPLE / "project", folder)
    rows = (folder / "sums.jsonl").read_text().splitlines()[:ROWS]
    (folder / "sums.jsonl").write_text("\n".join(rows) + "\n")
    file = folder / "test_twice.py"
    file.write_text(file.read_text().replace("127.0.0.1:3000", f"127.0.0.1:{port}"))
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def trained(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The job when it has ended; the example's server still runs."""
    port = free_port()
    around = tmp_path_factory.mktemp("example")
    shutil.copy(ROOT / "pyproject.toml", around)  # as in a clone
    with example_server(server, port):
        job = create(server, project_at(around / "project", port))
        yield ended(server, job)


def test_the_example_trains(trained: Any) -> None:
    assert trained["state"] == "JOB_STATE_COMPLETED", trained
    metrics = [json.loads(line) for line in httpx2.get(trained["metricsFileSignedUrl"]).text.splitlines()]
    rewards = [m["rollout/reward_mean"] for m in metrics if "rollout/reward_mean" in m]
    assert rewards[-1] > rewards[0]
    steps = [m for m in metrics if "rollout/turns_mean" in m]
    assert all(m["rollout/turns_mean"] == 2 for m in steps) and max(m.get("gap/max", 0.0) for m in metrics) == 0.0


def test_the_tuned_model_answers(server: RunningServer, trained: Any) -> None:
    messages = [{"role": "user", "content": "What is 17 + 38?"}]
    body = {"model": "accounts/default/models/twice", "messages": messages, "temperature": 0, "max_tokens": 32}
    answer = ask(server, "POST", "/inference/v1/chat/completions", json=body)
    assert answer["choices"][0]["message"]["content"].endswith("55")


def test_a_job_whose_worker_is_killed_ends_with_the_same_bits(server: RunningServer, trained: Any) -> None:
    """The remote server answers the same to the same; rollouts that were in hand are begun again."""
    body = {
        "dataset": trained["dataset"],
        "evaluator": trained["evaluator"],
        "trainingConfig": {"baseModel": "accounts/tunesmith/models/embedded", "learningRate": 5e-4, "batchSize": 4096},
        "inferenceParameters": {"responseCandidatesCount": 2, "maxOutputTokens": 32},
        "chunkSize": 16,
    }
    found = []
    for kill in (False, True):
        job = ask(server, "POST", JOBS, json=body)["name"].rpartition("/")[2]
        folder = server.data_dir / "jobs" / job
        if kill:
            deadline = time.monotonic() + 200
            while not (folder / "run" / "checkpoints" / "step-000001").is_dir() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(int((folder / "worker.lock").read_text()), signal.SIGKILL)
        assert ended(server, job)["state"] == "JOB_STATE_COMPLETED"
        assert ("resumed after step" in (folder / "run" / "log.txt").read_text()) == kill
        found.append(fingerprint(folder / "run"))
    assert found[0] == found[1]


def test_a_rollout_s_key_opens_that_rollout_alone(server: RunningServer, trained: Any) -> None:
    job = next(f.name for f in (server.data_dir / "jobs").iterdir())
    rollout, other = f"{job}-{'a' * 24}", f"{job}-{'b' * 24}"
    key = rollout_key((server.data_dir / "rollouts.key").read_bytes(), rollout)
    forged = rollout_key(b"another secret", rollout)
    store = open_store(file_url(server.data_dir))
    try:
        bob = Keys(store).create("bob")
    finally:
        store.close()

    def status(used: str, asked: str) -> int:
        headers = {"authorization": f"Bearer {used}"}
        return httpx2.get(f"{server.base_url}/v1/status", params={"rollout_id": asked}, headers=headers).status_code

    # The job has ended: who may ask is told so.
    assert [status(key, rollout), status(key, other), status(forged, rollout)] == [404, 403, 401]
    assert [status(key, "r1"), status(bob, rollout), status(server.key, rollout)] == [403, 404, 404]
    headers = {"authorization": f"Bearer {key}"}
    for method, path in (("GET", JOBS), ("POST", "/v1/chat/completions"), ("GET", "/logs?tags=a")):
        assert httpx2.request(method, server.base_url + path, headers=headers).status_code in (401, 403)
