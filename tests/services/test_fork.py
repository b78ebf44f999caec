"""Forks of real runs: the shared past, what cannot be shared, the tree; and advice that starts one."""

import json

import pytest
from crash.fingerprint import fingerprint
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.core.types import Change, Finding
from tunesmith.services import worker
from tunesmith.services.advice import Advice, advise, fork_step, fork_with, task_for
from tunesmith.services.compare import compare_runs
from tunesmith.services.family import family_tree, in_words, origin_in_words
from tunesmith.services.fork import fork, kept_steps
from tunesmith.services.report import write_report
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("fork")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.fixture(scope="module")
def parent(root):
    """Six steps of two evaluations each, four checkpoints kept."""
    spec = settings("rft", root, epochs=2, eval_every=2, keep_checkpoints=4)
    return worker.start(build_spec(spec))


def test_more_checkpoints_are_kept_and_each_can_be_forked(parent):
    assert kept_steps(parent) == [0, 3, 4, 5, 6]


def test_a_fork_that_changes_nothing_of_the_computation_ends_with_the_same_bits(parent, root):
    again = worker.resume(fork(parent, {"keep_checkpoints": 2}, at_step=3, to=root / "same"))
    ours, theirs = fingerprint(again.path), fingerprint(parent.path)
    assert ours == theirs


def test_a_fork_shares_the_past_and_goes_its_own_way(parent, root):
    made = fork(parent, {"learning_rate": 0.05}, at_step=4, to=root / "other")
    assert (made.state().state, made.state().step) == ("PAUSED", 4)
    assert made.metrics() == parent.metrics()[:5]
    assert [line["step"] for line in made.timing()] == [0, 1, 2, 3, 4]
    assert made.rollout_steps("step") == [1, 2, 3, 4] and made.rollout_steps("eval") == [0, 2, 4]
    run = worker.resume(made)
    assert run.state().state == "COMPLETED"
    before, after = run.metrics()[:5], run.metrics()[5:]
    assert before == parent.metrics()[:5] and after != parent.metrics()[5:]
    assert len(after) == 2
    assert run.metrics()[5]["rollout/reward_mean"] == parent.metrics()[5]["rollout/reward_mean"], (
        "the same policy sampled"
    )
    origin = run.parent()
    assert origin is not None and (origin.step, origin.changed) == (4, {"learning_rate": [0.01, 0.05]})
    note = compare_runs(parent, run).note
    assert note == f"{run.name} is a fork of {parent.name}; they share the steps up to 4. " + compare_runs(
        run, run
    ).note.replace(
        "The settings agree: on one machine and the same data the numbers should too.",
        "Only learning_rate differs: it is the cause, or chance is; repeat both with other seeds.",
    )
    page = write_report(run).read_text("utf-8")
    assert "fork of run at step 4: learning_rate 0.01 -&gt; 0.05" in page


def test_a_fork_that_names_no_step_begins_at_the_newest_with_more_to_train(parent, root):
    assert fork(parent, {"learning_rate": 0.05}, to=root / "newest").parent().step == 5
    assert fork(parent, {"epochs": 3}, to=root / "longer-yet").parent().step == 6


def test_a_changed_grader_takes_over_after_the_fork(parent, root):
    grader = f"{root / 'data' / 'grader.py'}::grade"
    run = worker.resume(fork(parent, {"evaluator": grader}, at_step=5, to=root / "regraded"))
    last = [run.read_rollouts("step", step, ["reason"])[0]["reason"] for step in (5, 6)]
    assert last[0] == parent.read_rollouts("step", 5, ["reason"])[0]["reason"]
    assert len(last[1]) == 3, "the file's grader gives the first three letters as its reason"


def test_settings_under_the_past_begin_at_the_start(parent, root):
    made = fork(parent, {"seed": 3}, to=root / "seeded")
    assert made.state().step == 0 and made.metrics() == [] and made.parent().step == 0
    assert worker.resume(made).state().state == "COMPLETED"
    with pytest.raises(UserError, match="rest on it"):
        fork(parent, {"lora_rank": 8}, at_step=4)


def test_a_fork_is_told_by_the_name_of_the_run_it_comes_from(parent, root):
    assert parent.name == "run"
    parent.set_name("first tries")
    try:
        made = fork(parent, {"seed": 4}, to=root / "named")
    finally:
        (parent.path / "name.txt").unlink()
    assert origin_in_words(made) == "fork of first tries from the start: seed 0 -> 4"
    assert made.name == "named"


@pytest.mark.parametrize(
    ("changes", "at_step", "error", "said"),
    [
        ({"learning_rate": 0.05}, 1, NotFound, "Kept: 0, 3, 4, 5, 6"),
        ({"learning_rate": 0.01}, 4, UserError, "no setting differs"),
        ({"learning_rat": 0.05}, 4, UserError, "Did you mean 'learning_rate'"),
        ({"learning_rate": 0.05}, 6, UserError, "6 is the last step: nothing would be left to train. Fork at step 5"),
    ],
)
def test_what_is_no_fork_is_refused_and_leaves_nothing(parent, changes, at_step, error, said):
    with pytest.raises(error, match=said):
        fork(parent, changes, at_step)
    assert not parent.path.with_name("run-fork1").exists()


def test_names_and_folders_that_are_taken(parent, root):
    first = fork(parent, {"learning_rate": 0.02})
    second = fork(parent, {"learning_rate": 0.03})
    assert [first.path.name, second.path.name] == ["run-fork1", "run-fork2"]
    with pytest.raises(Conflict, match="exists already"):
        fork(parent, {"learning_rate": 0.02}, to=first.path)


def test_a_damaged_checkpoint_cannot_be_forked_at(parent, root):
    copy = fork(parent, {"keep_checkpoints": 5}, at_step=5, to=root / "hurt")
    weights = copy.path / "checkpoints" / "step-000005" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"is damaged: weights\.safetensors"):
        fork(copy, {"learning_rate": 0.02}, at_step=5)


def test_the_tree_shows_forks_under_their_parents(parent, root):
    child = fork(parent, {"learning_rate": 0.04}, to=root / "child")
    grandchild = fork(child, {"epochs": 3}, to=root / "grandchild")
    members = family_tree([parent, child, grandchild])
    assert [(m.run.path.name, m.depth) for m in members] == [("run", 0), ("child", 1), ("grandchild", 2)]
    lines = in_words(members)
    assert "└─ child" in lines[1] and "learning_rate 0.01 -> 0.04" in lines[1] and "at step 5" in lines[1]
    assert family_tree([child])[0].depth == 0, "its parent is not listed"
    assert json.loads(json.dumps(members[1].as_dict()))["parent"]["changed"] == {"learning_rate": [0.01, 0.04]}


def finding(rule, change, step=5):
    return Finding(rule, "warning", step, "saw 1", "advice", change)


def advice_of(run, *findings):
    return Advice(str(run.path), list(findings), findings[0].change if findings else None, None, "")


def test_advice_forks_before_the_finding_arose_or_goes_on_at_the_end(parent, root):
    slower = finding("spike", Change("learning_rate", 0.01, 0.005, "calm"))
    longer = finding("climbing", Change("epochs", 2, 3, "more"))
    byhand = finding("grader", Change("evaluator", "x", "mend it", "truth", by_hand=True))
    advice = advice_of(parent, byhand, slower, longer)
    assert fork_with(parent, advice, "spike", root / "calm").parent().step == 4
    went_on = fork_with(parent, advice, "climbing", root / "longer")
    assert went_on.parent().step == 6
    assert [line["step"] for line in worker.resume(went_on).metrics()] == list(range(10))
    crashed = finding("reward_spike_then_crash", Change("learning_rate", 0.01, 0.005, "calm"))
    assert fork_step(parent, crashed) == 0
    with pytest.raises(UserError, match=r"evaluator: mend it.*another finding: spike, climbing"):
        fork_with(parent, advice)
    with pytest.raises(NotFound, match="There are: grader, spike, climbing"):
        fork_with(parent, advice, "nothing")


def test_advice_examines_anew_and_knows_a_baseline(root, tmp_path):
    spec = {"dataset": "d.jsonl", "evaluator": "exact_match"}
    plain = RunFolder(tmp_path / "plain").create(build_spec(spec, "rft").model_dump(), "rft")
    tried = RunFolder(tmp_path / "tried").create(build_spec({**spec, "learning_rate": 2e-4}, "rft").model_dump(), "rft")
    for step in range(1, 4):
        tried.append_metrics(step, {"rollout/truncated_share": 0.5})
    found = advise(tried, [plain, tried])
    assert [f.rule for f in found.findings] == ["truncation"]
    assert (found.change, found.fork_at) == (Change("max_tokens", 2048, 4096, "answers can end"), 0)
    assert "no run of this task has default settings" in found.baseline
    plain.set_state("COMPLETED")
    assert f"{plain.path} ran the same task with default settings" in advise(tried, [plain, tried]).baseline
    assert "the baseline of its task" in advise(plain).baseline
    assert json.loads(json.dumps(found.as_dict()))["change"]["new"] == 4096


def test_patience_and_grave_findings_end_a_real_run(root):
    spec = settings("rft", root, epochs=4, eval_every=1, early_stop_patience=2, learning_rate=1e-9, output_dir=None)
    run = worker.start(build_spec({**spec, "output_dir": str(root / "patient")}))
    assert run.state().state == "EARLY_STOPPED" and "early_stop_patience" in run.state().reason
    assert run.state().step < run.state().num_steps and (run.path / "adapter").is_dir()
    rising = {**spec, "learning_rate": 0.05, "epochs": 6, "early_stop_patience": 3}
    run = worker.start(build_spec({**rising, "output_dir": str(root / "rising")}))
    held_out = {int(m["step"]): m["eval/reward_mean"] for m in run.metrics()}
    best = max(held_out, key=held_out.__getitem__)
    assert 0 < best < run.state().step, held_out
    assert (run.card()["result_step"], run.card()["heldout_reward_after"]) == (best, held_out[best])
    assert f"the weights of step {best} had the highest held-out reward" in (run.path / "log.txt").read_text()
    dull = {**spec, "early_stop_patience": None, "stop_on_findings": True, "max_tokens": 1, "learning_rate": 0.01}
    run = worker.start(build_spec({**dull, "output_dir": str(root / "grave")}))
    assert run.state().state == "EARLY_STOPPED" and "truncation" in run.state().reason


def test_labels_are_counted_in_a_dataset(tmp_path):
    answered = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 3
    keyed = [{"messages": [{"role": "user", "content": "a"}], "ground_truth": "1"}] * 2
    bare = [{"messages": [{"role": "user", "content": "a"}]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in answered + keyed + bare))
    task, choice = task_for(file, None, reasoning=False, verifiable=False)
    assert (task.labels, choice.kind) == (5, "rft")
    with pytest.raises(UserError, match="number of right answers"):
        task_for(None, None, False, False)
