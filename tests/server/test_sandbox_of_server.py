"""What a server says of its sandbox, and what it refuses when it has none."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from server.running import RunningServer

from tunesmith.core.errors import Denied, UserError
from tunesmith.grading.sandbox import SETTING
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.jobs.specs import check_evaluator, runs_code
from tunesmith.services.keys import Keys
from tunesmith.services.secrets import Secrets
from tunesmith.services.store import file_url, open_store
from tunesmith.services.user_code import check_walls


@pytest.fixture
def store(tmp_path):
    opened = open_store(file_url(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def keys(store):
    return Keys(store)


@pytest.mark.thorough
def test_the_level_is_said_at_the_start_in_the_status_and_in_the_metrics(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data", "--sandbox", "limits").start()
    try:
        assert "user code runs in the sandbox: limits" in server.log()
        assert "it can read every file that its user may read" in server.log()
        request = urllib.request.Request(f"{server.base_url}/tunesmith/v1/status", headers={"x-api-key": server.key})
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["sandbox"] == "limits"
        with urllib.request.urlopen(f"{server.base_url}/metrics") as answer:
            said = answer.read().decode()
        assert 'tunesmith_sandbox{level="limits"} 1.0' in said
        assert 'tunesmith_sandbox{level="bubblewrap"} 0.0' in said
    finally:
        server.stop()


@pytest.mark.thorough
def test_a_level_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("tunesmith")), "serve", "--data-dir", str(tmp_path), "--port", "0"]
    ended = subprocess.run([*command, "--sandbox", "walls"], capture_output=True, text=True, env=dict(os.environ))
    assert ended.returncode == 2
    assert "unknown 'walls'" in ended.stderr


def test_without_walls_users_code_is_refused_as_soon_as_there_are_several_users(store, keys, tmp_path, monkeypatch):
    monkeypatch.setenv(SETTING, "limits")
    keys.create("ann")
    second = keys.find(keys.create("ben"))
    assert second is not None
    with pytest.raises(Denied, match="keeps from the data of the server's other users"):
        check_walls(keys)
    evaluators = Evaluators(store, tmp_path, Secrets(store, tmp_path))
    evaluators.create("ann", "mine")
    with evaluators.upload("ann", "mine", "grader.py") as incoming:
        incoming.file.write(b"def grade(completion, row): return 1.0")
    with pytest.raises(Denied):
        evaluators.build("ann", "mine")
    keys.revoke(second.id)
    check_walls(keys)


@pytest.mark.parametrize(
    ("evaluator", "runs"),
    [("uploaded:mine", True), ("unit_tests", True), (["exact_match=0.5", "unit_tests=0.5"], True), ("math", False)],
)
def test_what_runs_code(evaluator, runs):
    assert runs_code(evaluator) is runs


@pytest.mark.parametrize("evaluator", ["sql", "sql:folder=/tmp", "/etc/x.py::grade"])
def test_a_client_names_no_files_of_the_server(evaluator):
    with pytest.raises(UserError, match="file"):
        check_evaluator(evaluator, user_code=False)
