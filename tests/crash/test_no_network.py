"""Jobs need no network, and nothing that could run code is read from a model folder or written by one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_kill import job_settings

import tunesmith
from tunesmith.core.errors import NotFound
from tunesmith.spec import build_spec

OFFLINE = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"a job asked for the network: {args}")

def connect(self, address):
    if self.family != socket.AF_UNIX:
        refuse(address)
    return plain_connect(self, address)

plain_connect = socket.socket.connect
socket.socket.connect = connect
socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse

from tunesmith.services import worker
from tunesmith.spec import build_spec
for settings in json.loads(sys.argv[1]):
    worker.start(build_spec(settings))
"""
FORBIDDEN = {
    "pickle": r"\bpickle\b",
    "torch.load(": r"\btorch\.load\(",
    "eval( or exec(": r"(?<![\w.])(?:eval|exec)\(",
    "shell=True": r"shell\s*=\s*True",
    "trust_remote_code=True": r"trust_remote_code\s*=\s*True",
    "yaml.load(": r"\byaml\.load\(",
    "os.system(": r"\bos\.system\(",
    "telemetry or downloads": r"\bhf_hub_download\b|\bsnapshot_download\b",
}
ALLOWED = {
    ("eval( or exec(", "grading/worker.py"),
    ("eval( or exec(", "grading/composed/build.py"),
    ("eval( or exec(", "grading/builtin/harness.py"),
    ("pickle", "models/folder.py"),
    ("pickle", "services/sessions/results.py"),
    ("pickle", "services/sessions/wire.py"),
    ("telemetry or downloads", "services/pull.py"),
}
"""Graders, and code that is graded, run where they are confined; some words say that pickle is refused. It is used
between the server and its own engine process only, over a socket that nobody else holds. A download is a command."""


def test_a_job_of_each_kind_runs_without_network(jobs_folder: Path, tmp_path: Path) -> None:
    specs = [
        job_settings(name, jobs_folder) | {"output_dir": str(tmp_path / name.replace(" ", "-"))}
        for name in ("rft, a user's grader", "sft", "dpo")
    ]
    done = subprocess.run([sys.executable, "-c", OFFLINE, json.dumps(specs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    states = [json.loads((Path(s["output_dir"]) / "state.json").read_text())["state"] for s in specs]
    assert states == ["COMPLETED"] * 3


def test_the_source_has_no_way_to_run_code_from_data() -> None:
    root = Path(tunesmith.__file__).parent
    found = [
        f"{file.relative_to(root)}:{number}: {name}"
        for file in root.rglob("*.py")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        for name, pattern in FORBIDDEN.items()
        if re.search(pattern, line) and (name, file.relative_to(root).as_posix()) not in ALLOWED
    ]
    assert not found


def test_a_model_of_pickled_weights_alone_is_refused(jobs_folder: Path, tmp_path: Path) -> None:
    from tunesmith.services import worker

    folder = shutil.copytree(jobs_folder / "model", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    settings = job_settings("sft", jobs_folder) | {"base_model": str(folder), "output_dir": str(tmp_path / "run")}
    with pytest.raises(NotFound, match=r"pytorch_model\.bin is pickle, which can run code"):
        worker.start(build_spec(settings))
    assert not (tmp_path / "run").exists()
