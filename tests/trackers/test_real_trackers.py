"""A job that reports to every tracker at once, read back by each library's own reader."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from crash.tiny_jobs import make_data, make_model, settings

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients"
PACKAGES = [CLIENTS / name / f"lib/python3.{sys.version_info[1]}/site-packages" for name in ("trackers", "base")]
pytestmark = pytest.mark.thorough


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP and keeps the bodies."""

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(run folder, what the readers found, spans that the collector got)."""
    if not (CLIENTS / "trackers" / "stamp").is_file():
        pytest.skip("no environment of the trackers: run `make clients`")
    root = tmp_path_factory.mktemp("trackers")
    make_model(root / "model")
    make_data(root / "data")
    names = "wandb,mlflow,tensorboard,trackio,otel"
    spec = settings("rft", root, report_to=names, tracker_project="sums", tracker_run="first")
    (root / "spec.yaml").write_text(yaml.safe_dump(spec))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.bodies = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, PACKAGES)),
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(root / "trackio"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
    }
    try:
        _python(["-m", "tunesmith.cli.main", "rft", "run", "--spec", "spec.yaml"], root, environment)
        found = _python([str(Path(__file__).with_name("readers.py")), "run"], root, environment)
    finally:
        server.shutdown()
        server.server_close()
    return root / "run", json.loads(found.splitlines()[-1]), b"".join(server.bodies)


def _python(arguments, folder, environment):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def rewards_of(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line["step"], line["rollout/reward_mean"]] for line in lines if line["step"]]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard", "trackio"])
def test_every_step_is_there_once(told, name):
    run, found, _ = told
    assert found[name]["rewards"] == [[step, pytest.approx(reward)] for step, reward in rewards_of(run)]
    assert len(found[name]["rewards"]) == 3
    assert found[name]["tables"] >= 3


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_settings_state_and_result_are_there(told, name):
    _, found, _ = told
    assert found[name]["rank"] == 4
    assert found[name]["state"] in ("COMPLETED", "FINISHED")
    assert any("adapter_model.safetensors" in file for file in found[name]["files"])


def test_the_job_s_own_memory_is_there_and_the_card(told):
    _, found, _ = told
    assert found["tensorboard"]["memory_mib"] > 100
    assert found["tensorboard"]["card"]


def test_a_trace_has_each_step_and_its_phases(told):
    _, _, spans = told
    assert all(name in spans for name in (b"step 1", b"step 2", b"step 3", b"rollout", b"train", b"eval"))
    assert b"setting.lora_rank" in spans


def test_a_collector_that_is_away_is_told_later(told):
    """Nothing listens at the discard port."""
    run, _, _ = told
    known = run / "trackers" / "otel.json"
    known.unlink()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PACKAGES))}
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    track = [sys.executable, "-m", "tunesmith.cli.main", "track", str(run), "--report-to", "otel"]
    done = subprocess.run(track, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "the collector did not take" in done.stderr, done.stderr
    assert not known.exists()


def test_nothing_went_wrong_on_the_way(told):
    run, _, _ = told
    assert "was not told" not in (run / "log.txt").read_text()
