"""What a run folder keeps, refuses and recovers."""

import json
import math
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from services.made_runs import decode, group, judged, rollout, segment

from tunesmith.core.errors import Conflict, JobStopped, NotFound, UserError
from tunesmith.core.types import Finding, Group, Rollout, Score
from tunesmith.services.rollout_table import SCHEMA
from tunesmith.services.run_folder import STATES, RunFolder, find_run

SPEC = {"kind": "rft", "dataset": "zebra ü.jsonl", "learning_rate": 1e-5, "chunk_size": 0}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "runs" / "one").create(SPEC, "rft")


def test_create_writes_the_settings_in_their_order(run):
    assert list(run.spec().items()) == list(SPEC.items())
    assert yaml.safe_load((run.path / "spec.yaml").read_text("utf-8")) == SPEC
    state = run.state()
    assert (state.state, state.kind, state.step, state.started_at) == ("CREATED", "rft", 0, None)


def test_create_refuses_a_folder_with_a_run(run):
    with pytest.raises(Conflict, match="holds a run already"):
        RunFolder(run.path).create(SPEC, "rft")


@pytest.mark.parametrize("name", ["spec.yaml", "metrics.jsonl", "adapter"])
def test_create_refuses_to_overwrite_what_is_not_its_own(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(Conflict, match=name):
        RunFolder(tmp_path).create(SPEC, "rft")
    assert (tmp_path / name).read_text() == "mine"


def test_create_goes_on_where_a_crash_left_it(run):
    (run.path / "state.json").unlink()
    assert RunFolder(run.path).create(SPEC, "rft").state().state == "CREATED"


def test_open_names_what_is_missing(run, tmp_path):
    assert RunFolder.open(run.path).spec() == SPEC
    with pytest.raises(NotFound, match="no such run"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_state_times_follow_the_state(run):
    started = run.set_state("RUNNING", num_steps=9).started_at
    assert datetime.fromisoformat(started).tzinfo is not None
    assert run.set_state("RUNNING", step=3).num_steps == 9
    paused = run.set_state("PAUSED", reason="asked to")
    assert (paused.step, paused.reason, paused.started_at, paused.ended_at) == (3, "asked to", started, None)
    assert run.set_state("FAILED").ended_at >= started
    assert run.set_state("RUNNING").ended_at is None
    assert set(json.loads((run.path / "state.json").read_text())) == {
        *("state", "kind", "step", "num_steps", "reason", "started_at", "ended_at", "version")
    }
    with pytest.raises(UserError, match="RUNNING"):
        run.set_state("RUNING")


def test_metrics_lines_are_the_same_bytes_for_the_same_numbers(run):
    # 23 bytes of '{"step": 1, "a/b": 2.0}' and the line's end
    assert run.append_metrics(1, {"a/b": np.float64(2)}) == 24
    size = run.append_metrics(2, {"z/z": 0.1, "a/b": 3, "step": 2})
    assert (run.path / "metrics.jsonl").read_bytes().splitlines()[1] == b'{"step": 2, "a/b": 3.0, "z/z": 0.1}'
    assert size == (run.path / "metrics.jsonl").stat().st_size
    assert run.metrics() == [{"step": 1, "a/b": 2.0}, {"step": 2, "a/b": 3.0, "z/z": 0.1}]
    assert run.timing() == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(run, bad):
    with pytest.raises(JobStopped, match=r"optim/grad_norm: is .* at step 4"):
        run.append_metrics(4, {"loss/policy": 0.0, "optim/grad_norm": bad})
    assert run.metrics() == []


def test_metrics_of_another_step_are_refused(run):
    with pytest.raises(UserError, match="step"):
        run.append_metrics(4, {"step": 5, "a/b": 1})


def test_a_line_that_a_crash_cut_short_is_not_read(run):
    run.append_metrics(1, {"a/b": 1})
    with (run.path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 2, "a/')
    assert [line["step"] for line in run.metrics()] == [1]


def test_a_broken_line_in_the_middle_is_named(run):
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2"):
        run.metrics()


def test_rewind_leaves_what_a_run_that_never_went_on_would_have(run):
    groups = [group("p", [0.0, 1.0])]
    sizes = []
    for step in (1, 2, 3):
        run.write_rollouts("step", step, groups, judged(groups), decode)
        run.write_rollouts("eval", step, groups, judged(groups), decode)
        run.append_timing(step, {"time/step_s": step})
        sizes.append(run.append_metrics(step, {"a/b": step}))
    (run.path / "rollouts" / ".tmp-step-000004.parquet").write_text("half")
    with (run.path / "timing.jsonl").open("a") as f:
        f.write('{"step": 4')
    run.rewind(sizes[0], 1)
    assert run.metrics() == [{"step": 1, "a/b": 1.0}]
    assert (run.path / "timing.jsonl").read_text() == '{"step": 1, "time/step_s": 1.0}\n'
    assert (run.rollout_steps("step"), run.rollout_steps("eval")) == ([1], [1])
    assert sorted(p.name for p in (run.path / "rollouts").iterdir()) == ["eval-000001.parquet", "step-000001.parquet"]
    with pytest.raises(Conflict, match="bytes"):
        run.rewind(sizes[2], 3)


def test_rewind_to_before_the_first_step(run):
    run.rewind(0, 0)
    run.append_metrics(1, {"a/b": 1})
    run.rewind(0, 0)
    assert run.metrics() == []


def test_rollouts_come_back_as_they_were(run):
    good = rollout([7, 8], 1.0, "yes", {"format": 1.0, "answer": 1.0}, "right")
    failed = rollout([9], None)
    groups = [Group("p1", {"q": "ü", "n": [1]}, (good, failed))]
    run.write_rollouts("step", 12, groups, [[(0.7, ""), (None, "grading failed")]], decode)
    first, second = run.read_rollouts("step", 12)
    assert first == {
        **{"step": 12, "prompt_id": "p1", "candidate": 0, "row": {"q": "ü", "n": [1]}, "prompt_text": "1 2"},
        **{"text": "yes", "tokens": [1, 2, 7, 8], "sampled": [False, False, True, True]},
        **{"logprobs": [0.0, 0.0, -0.5, -0.5], "entropies": None, "ratios": None, "clipped": None},
        **{"segment_lengths": [4], "temperature": pytest.approx(0.7)},
        **{"reward": 1.0, "parts": {"format": 1.0, "answer": 1.0}, "reason": "right", "error": None},
        **{"advantage": 0.7, "trained": True, "dropped": "", "stop": "stop", "version": 0},
    }
    assert (second["reward"], second["error"], second["advantage"]) == (None, "timeout: 10 s", None)
    assert (second["trained"], second["dropped"], second["tokens"]) == (False, "grading failed", [1, 2, 9])


def test_rollouts_of_several_segments_and_of_none(run):
    two = Rollout((segment([1], [2, 3]), segment([4, 5], [6])), "t", 1, "length", Score(0.5))
    none = Rollout((), "", 1, "abort", None, "engine: gone")
    run.write_rollouts("step", 1, [Group("p", {}, (none, two))], [[(None, "failed"), (0.0, "")]], decode)
    empty, both = run.read_rollouts("step", 1)
    assert (empty["tokens"], empty["segment_lengths"], empty["temperature"]) == ([], [], None)
    assert (both["tokens"], both["segment_lengths"]) == ([1, 2, 3, 4, 5, 6], [3, 3])
    assert both["prompt_text"] == empty["prompt_text"] == "1"
    assert both["sampled"] == [False, True, True, False, False, True]


def test_rollout_files_have_the_same_bytes_and_narrow_types(run, tmp_path):
    groups = [group("a", [0.0, 1.0]), group("b", [0.5, None])]
    files = [run.write_rollouts("step", step, groups, judged(groups), decode) for step in (1, 1)]
    again = RunFolder(tmp_path / "again").create(SPEC, "rft").write_rollouts("step", 1, groups, judged(groups), decode)
    assert files[0].read_bytes() == again.read_bytes()
    schema = pq.read_schema(again)
    assert [str(schema.field(n).type.value_type) for n in ("tokens", "sampled", "logprobs")] == [
        "int32",
        "bool",
        "float",
    ]


def test_every_column_and_state_is_documented():
    page = Path(__file__).parents[2].joinpath("docs", "run-folder.md").read_text("utf-8")
    assert [name for name in (*SCHEMA.names, *STATES) if f"`{name}`" not in page] == []


def test_rollouts_without_groups_and_with_chosen_columns(run):
    run.write_rollouts("eval", 0, [], [], decode)
    assert run.read_rollouts("eval", 0) == []
    groups = [group("a", [0.25])]
    run.write_rollouts("eval", 3, groups, judged(groups), decode)
    assert run.read_rollouts("eval", 3, ["reward", "row"]) == [{"reward": 0.25, "row": groups[0].row}]
    with pytest.raises(NotFound, match="Steps kept: 0, 3"):
        run.read_rollouts("eval", 2)
    with pytest.raises(UserError, match="eval, step"):
        run.read_rollouts("evil", 3)


def test_a_judgement_for_every_rollout(run):
    with pytest.raises(ValueError, match="shorter"):
        run.write_rollouts("step", 1, [group("a", [0.0, 1.0])], [[(0.0, "")]], decode)


def test_findings_card_and_log(run):
    finding = Finding("no_signal", "warning", 3, "saw", "advice")
    assert (run.findings(), run.card()) == ([], {})
    run.write_findings([finding])
    run.write_card({"steps": 3})
    assert (run.findings(), run.card()) == ([finding], {"steps": 3})
    run.log("began\nwith two lines\n")
    first, second = (run.path / "log.txt").read_text().splitlines()
    stamp, text = first.split(" ", 1)
    assert (datetime.fromisoformat(stamp).utcoffset().total_seconds(), text, second) == (
        0,
        "began",
        "    with two lines",
    )


def test_what_is_more_than_news_says_so_in_the_log(run):
    run.log("news")
    run.log("odd", "warning")
    assert [line.split(" ", 1)[1] for line in (run.path / "log.txt").read_text().splitlines()] == [
        "news",
        "WARNING odd",
    ]


def test_find_run_by_path_name_beginning_and_latest(tmp_path):
    root = tmp_path / "runs"
    with pytest.raises(NotFound, match="no runs"):
        find_run("@latest", root)
    for age, name in enumerate(["rft-b", "rft-a", "sft-a"]):
        path = RunFolder(root / name).create(SPEC, "rft").path
        os.utime(path / "spec.yaml", (1000 - age, 1000 - age))
    assert find_run("@latest", root).path.name == "rft-b"
    assert find_run("s", root).path.name == "sft-a"
    assert find_run("rft-a", root).path.name == "rft-a"
    assert find_run(str(root / "sft-a"), tmp_path).path == root / "sft-a"
    with pytest.raises(Conflict, match="rft-a, rft-b"):
        find_run("rft", root)
    with pytest.raises(NotFound, match="The latest: rft-b, rft-a, sft-a"):
        find_run("dpo", root)


def test_one_process_at_a_time(tmp_path):
    run = RunFolder(tmp_path / "run").create({"kind": "rft"}, "rft")
    with run.exclusive(), pytest.raises(Conflict, match="another process is running this job"), run.exclusive():
        pass
    with run.exclusive():
        pass
