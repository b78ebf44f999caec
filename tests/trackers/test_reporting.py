"""Reporting beside a run: what a tracker is told, and that one which hangs or fails costs the run nothing."""

import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from crash.fingerprint import fingerprint
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.errors import UserError
from tunesmith.services import worker
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.trackers import PACKAGES, TRACKERS
from tunesmith.services.trackers.companion import check_installed, check_ready, reported
from tunesmith.services.trackers.follow import ROWS, Follower
from tunesmith.spec import SftSpec, build_spec
from tunesmith.spec.base import TrackerName


class Recorder:
    """A tracker that remembers."""

    def __init__(self):
        self.about = self.ending = None
        self.steps, self.tables, self.findings, self.moments = [], [], [], []

    def open(self, about):
        self.about = about
        return "id-1"

    def log(self, step, metrics, at):
        self.steps.append((step, metrics))
        self.moments.append(at)

    def table(self, step, rows):
        self.tables.append((step, rows))

    def finding(self, finding):
        self.findings.append(finding.rule)

    def close(self, ending):
        self.ending = ending


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reporting")
    make_model(folder / "model")
    make_data(folder / "data")
    return folder


@pytest.fixture(scope="module")
def run(root):
    spec = settings("rft", root, output_dir=str(root / "told"), tracker_project="mine", tracker_entity="us")
    return worker.start(build_spec(spec))


def told(run):
    recorder = Recorder()
    follower = Follower("recorder", recorder, run)
    follower.look()
    follower.close()
    return recorder


def test_a_tracker_is_told_everything_and_only_once(run):
    first = told(run)
    assert [step for step, _ in first.steps] == [0, 1, 2, 3]
    assert first.steps[1][1]["rollout/reward_mean"] == run.metrics()[1]["rollout/reward_mean"]
    assert "time/rollout_s" in first.steps[1][1] and "machine/memory_mib" in first.steps[1][1]
    assert first.findings == [finding.rule for finding in run.findings()]
    assert (first.ending.state, first.ending.good) == ("COMPLETED", True)
    assert first.ending.result == run.path / "adapter"
    assert first.ending.card["steps"] == 3
    again = told(run)
    assert (again.steps, again.findings, again.about.known_as) == ([], [], "id-1")
    (run.path / "trackers" / "recorder.json").unlink()


def test_names_are_the_settings_or_the_folder_s(run):
    about = told(run).about
    assert (about.project, about.entity, about.name) == ("mine", "us", "told")
    assert about.settings["learning_rate"] == 0.01
    (run.path / "trackers" / "recorder.json").unlink()


def test_a_run_that_ended_long_ago_is_told_with_the_times_of_then(run):
    recorder, state = told(run), run.state()
    (run.path / "trackers" / "recorder.json").unlink()
    assert recorder.about.began == datetime.fromisoformat(state.started_at).timestamp()
    assert recorder.ending.at == recorder.moments[-1] == datetime.fromisoformat(state.ended_at).timestamp()
    took = [sum(line.get(f"time/{part}_s", 0.0) for part in ("rollout", "train", "eval")) for line in run.timing()]
    gaps = [after - before for before, after in pairwise(recorder.moments)]
    assert gaps == [pytest.approx(seconds, abs=1e-5) for seconds in took[1:]]


def test_a_table_shows_the_lowest_and_the_highest(run):
    recorder = told(run)
    rows = dict(recorder.tables)[1]
    rewards = [row["reward"] for row in rows]
    assert len(rows) == ROWS
    assert rewards == sorted(rewards)
    assert {"prompt_text", "text", "reward", "advantage", "kind"} <= rows[0].keys()
    (run.path / "trackers" / "recorder.json").unlink()


def test_a_run_that_only_stopped_has_no_result_yet(root):
    stopped = RunFolder(root / "stopped").create(settings("sft", root) | _unset(), "sft")
    stopped.set_state("RUNNING")
    stopped.append_metrics(1, {"train/loss": 2.0})
    recorder = told(stopped)
    assert [step for step, _ in recorder.steps] == [1]
    assert (recorder.ending.state, recorder.ending.good, recorder.ending.result) == ("STOPPED", False, None)


def _unset():
    return {"tracker_run": None, "tracker_project": "tunesmith", "tracker_entity": None}


@pytest.mark.parametrize(
    ("library", "problem"),
    [("import time\ntime.sleep(600)\n", "did not finish in time"), ("raise OSError('away')\n", "ended with code 1")],
    ids=["hangs", "fails"],
)
def test_a_tracker_that_hangs_or_fails_costs_the_run_nothing(root, tmp_path, monkeypatch, library, problem):
    (tmp_path / "tensorboardX.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = RunFolder(tmp_path / "run").create(settings("sft", root) | _unset(), "sft")
    began, warned = time.monotonic(), []
    with reported(run, ["tensorboard"], warned.append, flush_s=8.0 if "code" in problem else 0.5):
        assert time.monotonic() - began < 60, "it waits for one that sleeps for 600"
    [said] = warned
    assert said.startswith(f"tensorboard was not told everything: it {problem}") and "trackers/tensorboard.log" in said
    assert ("(OSError: away)" in said) == ("code" in problem)
    assert said in (run.path / "log.txt").read_text()


def test_the_same_job_with_and_without_a_failing_tracker_ends_the_same(root, tmp_path, monkeypatch):
    (tmp_path / "tensorboardX.py").write_text("raise OSError('away')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    runs = [
        worker.start(build_spec(settings("sft", root, output_dir=str(tmp_path / str(i)), report_to=names)))
        for i, names in enumerate(([], ["tensorboard"]))
    ]
    assert fingerprint(runs[0].path) == fingerprint(runs[1].path)
    assert runs[1].state().state == "COMPLETED"


def test_one_that_is_not_installed_is_refused_before_anything_is_written(root, monkeypatch):
    absent = next((n for n, package in PACKAGES.items() if not _installed(package)), None)
    if absent is None:
        pytest.skip("every tracker is installed here")
    with pytest.raises(UserError, match=rf"{absent} is not installed. pip install 'tunesmith\[{absent}\]'"):
        worker.start(build_spec(settings("sft", root, output_dir=str(root / "never"), report_to=[absent])))
    assert not (root / "never").exists()


def _installed(package):
    try:
        check_installed([next(n for n, p in PACKAGES.items() if p == package)])
    except UserError:
        return False
    return True


def test_names_may_be_given_with_commas_and_must_be_known():
    spec = SftSpec(dataset="rows.jsonl", report_to="wandb, mlflow")
    assert spec.report_to == ["wandb", "mlflow"]
    assert SftSpec(dataset="rows.jsonl", report_to=["otel", "trackio,wandb"]).report_to == ["otel", "trackio", "wandb"]
    with pytest.raises(UserError, match="report_to"):
        build_spec({"kind": "sft", "dataset": "rows.jsonl", "report_to": "comet"})


def test_the_spec_and_the_table_name_the_same_trackers():
    assert set(TrackerName.__args__) == TRACKERS.keys() == PACKAGES.keys()
    folder = Path(worker.__file__).parent / "trackers"
    assert all((folder / f"{target.split(':')[0].rsplit('.', 1)[1]}.py").is_file() for target in TRACKERS.values())


def test_a_server_s_job_needs_the_key_of_its_tracker(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setitem(PACKAGES, "wandb", "json")  # installed everywhere
    with pytest.raises(UserError, match="there is no secret WANDB_API_KEY"):
        check_ready(["wandb"], {})
    check_ready(["wandb"], {"WANDB_API_KEY": "k"})
    monkeypatch.setenv("WANDB_API_KEY", "k")
    check_ready(["wandb"], {})
    check_ready([], {})
