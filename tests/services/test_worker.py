"""Whole jobs in this process: what they leave behind, and that refused input leaves nothing."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from crash.fingerprint import fingerprint
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith import rft
from tunesmith.core.errors import Conflict, JobStopped, NotFound, UserError
from tunesmith.services import worker
from tunesmith.services.keeping import Watcher
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

pytestmark = pytest.mark.thorough

KINDS = ["rft", "sft", "dpo"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("jobs")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.fixture(autouse=True)
def empty(root):
    yield
    shutil.rmtree(root / "run", ignore_errors=True)


def start(root, kind, watcher=worker.SILENT, **changes):
    return worker.start(build_spec(settings(kind, root, **changes)), watcher)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [4, 0])
def test_what_a_run_leaves_behind(root, kind, rank):
    run = start(root, kind, lora_rank=rank)
    names = {p.name for p in run.path.iterdir()}
    expected = {"spec.yaml", "state.json", "metrics.jsonl", "timing.jsonl", "card.json", "report.html", "log.txt"}
    assert expected | {"adapter" if rank else "model", "checkpoints", "rollouts"} <= names
    assert not any(p.name.startswith(".tmp") for p in run.path.rglob("*"))
    state = run.state()
    assert (state.state, state.kind, state.step, state.num_steps, state.reason) == ("COMPLETED", kind, 3, 3, "")
    assert [m["step"] for m in run.metrics()] == [0, 1, 2, 3]
    assert yaml.safe_load((run.path / "spec.yaml").read_text()) == run.spec()
    assert run.rollout_steps("step") == ([1, 2, 3] if kind == "rft" else [])
    assert run.card()["state"] == "COMPLETED"


def test_a_full_run_serves_as_a_base_model(root):
    full = start(root, "sft", lora_rank=0)
    shutil.move(full.path, root / "full")
    metrics = start(root, "sft", base_model=str(root / "full")).metrics()
    last = RunFolder(root / "full").metrics()
    assert metrics[0]["eval/loss"] == pytest.approx(min(m["eval/loss"] for m in last if "eval/loss" in m), rel=1e-6)
    shutil.rmtree(root / "full")


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_goes_on_to_the_same_bits(root, kind):
    expected = fingerprint(start(root, kind, eval_every=1).path)
    shutil.rmtree(root / "run")

    def interrupt(report):
        if report.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(root, kind, Watcher(stepped=interrupt), eval_every=1)
    run = RunFolder.open(root / "run")
    seen = []
    worker.resume(run, Watcher(stepped=lambda report: seen.append(report.step)))
    assert seen == [2, 3]
    assert fingerprint(run.path) == expected


def test_a_job_that_fails_says_so_and_can_be_resumed(root, tmp_path):
    grader = tmp_path / "grader.py"
    grader.write_text("def grade(completion, row):\n    return row['missing']\n")
    with pytest.raises(JobStopped, match="KeyError"):
        start(root, "rft", evaluator=f"{grader}::grade", eval_auto_carveout=False)
    run = RunFolder.open(root / "run")
    state = run.state()
    assert state.state == "FAILED"
    assert "100% of this step's gradings failed" in state.reason
    assert "FAILED" in (run.path / "log.txt").read_text()
    grader.write_text("def grade(completion, row):\n    return float(len(completion))\n")
    assert worker.resume(run).state().state == "COMPLETED"
    assert run.state().reason == ""


def test_a_job_without_signal_stops_early_and_is_whole(root):
    run = start(root, "rft", evaluator="repetition", epochs=2)
    state = run.state()
    assert state.state == "EARLY_STOPPED"
    assert state.step == 3
    assert "no group of the 11 prompts had differing rewards" in state.reason
    assert (run.path / "adapter").is_dir()
    assert run.card()["optimizer_updates"] == 0
    with pytest.raises(Conflict, match="is EARLY_STOPPED: there is nothing to resume"):
        worker.resume(run)


def test_a_finished_run_cannot_be_resumed_or_overwritten(root):
    run = start(root, "sft")
    before = fingerprint(run.path)
    with pytest.raises(Conflict, match="is COMPLETED: there is nothing to resume"):
        worker.resume(run)
    with pytest.raises(Conflict, match="holds a run already"):
        start(root, "sft")
    assert fingerprint(run.path) == before


REFUSED = [
    ("sft", {"dataset": "nowhere.jsonl"}, NotFound, "nowhere.jsonl"),
    ("sft", {"base_model": "nowhere"}, NotFound, "no such base model"),
    ("sft", {"warm_start_from": "nowhere"}, NotFound, "no adapter here"),
    ("sft", {"evaluation_dataset": "nowhere.jsonl"}, NotFound, "nowhere.jsonl"),
    ("sft", {"dataset": "{root}/data/rft.jsonl"}, UserError, "line 1"),
    ("dpo", {"dataset": "{root}/data/sft.jsonl"}, UserError, "line 1"),
    ("rft", {"dataset": "{root}/data"}, UserError, "data"),
    ("rft", {"evaluator": "exact_mach"}, UserError, "Did you mean 'exact_match'"),
    ("rft", {"evaluator": "{root}/data/grader.py::nothing"}, UserError, "nothing"),
    ("rft", {"evaluator": "{root}/data/none.py::grade"}, NotFound, "no such file"),
    ("rft", {"max_tokens": 64}, UserError, "leaves no room for a prompt"),
    ("rft", {"max_tokens": 60}, UserError, "limit 64"),
    ("sft", {"lora_rank": 0, "lora_head": True}, UserError, "lora_head"),
    ("sft", {"lora_rank": 0, "warm_start_from": "{root}/adapter"}, UserError, "warm_start_from"),
    ("sft", {"lora_rank": 8, "warm_start_from": "{root}/adapter"}, UserError, "has rank 4, lora_rank is 8"),
]


@pytest.mark.parametrize(("kind", "changes", "error", "says"), REFUSED)
def test_refused_input_leaves_nothing_behind(root, kind, changes, error, says):
    if not (root / "adapter").exists():
        shutil.copytree(start(root, "sft").path / "adapter", root / "adapter")
        shutil.rmtree(root / "run")
    given = {n: v.format(root=root) if isinstance(v, str) else v for n, v in changes.items()}
    before = sorted(root.rglob("*"))
    with pytest.raises(error) as caught:
        start(root, kind, **given)
    assert says in str(caught.value)
    assert sorted(p for p in root.rglob("*") if "__pycache__" not in p.parts) == before


def test_a_watcher_is_told_what_happens(root):
    told = []
    watcher = Watcher(
        lambda run, num_steps, notes: told.append(("started", run.path, num_steps, notes)),
        lambda report: told.append(("stepped", report.step)),
        lambda finding: told.append(("found", finding.rule)),
    )
    start(root, "rft", watcher)
    (_, path, num_steps, notes), *rest = told
    assert (path, num_steps) == (root / "run", 3)
    assert "held out 1 of 12 rows" in notes
    assert any("learning_rate: outside valid range" in note for note in notes)
    assert [what for what in rest if what[0] == "stepped"] == [("stepped", s) for s in range(4)]
    found = [rule for what, rule in rest if what == "found"]
    assert len(found) == len(set(found))
    assert set(found) == {f.rule for f in RunFolder.open(path).findings()}


def test_the_best_weights_are_the_result(root):
    """A rate so high that the held-out loss is lowest early: the adapter is that of the lowest, not of the last."""
    run = start(root, "sft", eval_every=1, epochs=4, learning_rate=0.3)
    losses = {int(m["step"]): m["eval/loss"] for m in run.metrics()}
    best = min(losses, key=lambda step: losses[step])
    assert 0 < best < 12
    assert f"the weights of step {best} had the lowest held-out loss" in (run.path / "log.txt").read_text()
    shutil.copytree(run.path / "adapter", root / "best-adapter")
    shutil.rmtree(run.path)
    again = start(root, "sft", warm_start_from=str(root / "best-adapter"))
    assert again.metrics()[0]["eval/loss"] == pytest.approx(losses[best], rel=1e-5)
    shutil.rmtree(root / "best-adapter")


def test_save_every_and_what_is_kept(root):
    """The newest two, at most save_every steps apart, and the last step always."""
    run = start(root, "dpo", epochs=2, save_every=2, evaluation_dataset=None, eval_auto_carveout=False)
    kept = sorted(p.name for p in (run.path / "checkpoints").iterdir())
    assert kept == ["step-000004", "step-000006"]


def test_folders_name_themselves(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = start(root, "sft", output_dir=None)
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("sft-sft-")


def test_from_python(root):
    run = rft.run(settings("rft", root))
    assert json.loads((run.path / "card.json").read_text()) == run.card()
    rollouts = run.read_rollouts("step", 1)
    assert len(rollouts) == 16
    with pytest.raises(UserError, match="the spec says 'sft'"):
        rft.run(settings("sft", root))
