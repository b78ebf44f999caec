"""Regrading, gates and rehearsals, on real runs of a tiny model."""

import json
import math

import pytest
from crash.tiny_jobs import make_data, make_model, settings
from docs.pages import named_files, page

from tunesmith.core.errors import NotFound, UserError
from tunesmith.services import worker
from tunesmith.services.agreement import kendall, spearman
from tunesmith.services.gates import judge, read_gates
from tunesmith.services.regrade import regrade
from tunesmith.services.rehearse import rehearse
from tunesmith.spec import build_spec

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("trials")
    make_model(root / "model")
    make_data(root / "data")
    rows = [json.loads(line) for line in (root / "data" / "rft.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["language"] = "one" if i % 2 else "other"
    (root / "data" / "rft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "graders.py").write_text(
        "def same(completion, row):\n    return float(any(a in completion for a in row['answer']))\n"
        "def against(completion, row):\n    return 1 - same(completion, row)\n"
        "def broken(completion, row):\n    raise KeyError('absent')\n"
    )
    return root


@pytest.fixture(scope="module")
def run(root):
    data = str(root / "data" / "rft.jsonl")
    spec = settings("rft", root, evaluator=f"{root / 'graders.py'}::same", evaluation_dataset=data)
    return worker.start(build_spec(spec))


@pytest.mark.parametrize(
    ("a", "b", "rho", "tau"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1, 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1, -1),
        # ranks 1 2 3 and 1 3 2: 1 - 6 x 2 / (3 x 8) = 0.5; pairs: 2 agree, 1 does not: 1/3
        ([1, 2, 3], [1, 3, 2], 0.5, 1 / 3),
        # ranks 1.5 1.5 3 and 1 2 3: cov 0.5, std sqrt(0.5) and sqrt(2/3); 2 pairs agree, 1 tied on the left
        ([0, 0, 1], [1, 2, 3], 0.5 / math.sqrt(1 / 3), 2 / math.sqrt(6)),
        ([1, 1, 1], [1, 2, 3], None, None),
        ([1], [1], None, None),
    ],
)
def test_rank_agreement_by_hand(a, b, rho, tau):
    assert spearman(a, b) == (rho if rho is None else pytest.approx(rho))
    assert kendall(a, b) == (tau if tau is None else pytest.approx(tau))


def test_the_same_grader_agrees_with_itself(run, root):
    found = regrade(run, [f"{root / 'graders.py'}::same"])
    assert (found.attempts, found.changed_sides, found.failures) == (48, 0, {})
    assert found.spearman == pytest.approx(1) and found.kendall == pytest.approx(1)
    assert (found.reward_mean_new, found.signal_new) == (found.reward_mean_old, found.signal_old)


def test_the_opposite_grader_changes_every_side(run, root):
    found = regrade(run, [f"{root / 'graders.py'}::against"], steps=1)
    assert found.attempts == found.changed_sides == 16
    assert found.spearman == pytest.approx(-1) and found.kendall == pytest.approx(-1)
    assert found.reward_mean_new == pytest.approx(1 - found.reward_mean_old)
    assert found.signal_new == found.signal_old
    assert all(example["old"] + example["new"] == 1 for example in found.examples)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_grader_that_fails_on_all_is_refused_with_its_errors(run, root):
    with pytest.raises(UserError, match=r"scored none of 48 attempts[\s\S]*absent"):
        regrade(run, [f"{root / 'graders.py'}::broken"])


def test_held_out_attempts_can_be_regraded(run, root):
    assert regrade(run, ["contains"], name="eval").attempts == 12 * 4 * 2


def gates(tmp_path, *bounds):
    file = tmp_path / "gates.yaml"
    file.write_text(json.dumps({"gates": list(bounds)}))
    return read_gates(file)


def test_gates_hold_the_newest_value_and_both_sides(run, tmp_path):
    now = run.metrics()[-1]["eval/reward_mean"]
    bounds = {"metric": "eval/reward_mean", "at_least": now, "at_most": now - 0.01}
    low, high = judge(run, gates(tmp_path, bounds))
    assert (low.passed, high.passed) == (True, False)
    assert low.value == now and high.gate.startswith("eval/reward_mean <= ")
    [card] = judge(run, gates(tmp_path, {"metric": "card/heldout_reward_after", "at_least": now}))
    assert card.passed


def test_gates_hold_groups_of_rows(run, tmp_path):
    attempts = run.read_rollouts("eval", run.rollout_steps("eval")[-1], ["row", "reward"])
    by = {}
    for attempt in attempts:
        by.setdefault(attempt["row"]["language"], []).append(attempt["reward"])
    means = {name: sum(values) / len(values) for name, values in by.items()}
    gap = abs(means["one"] - means["other"])
    bound = {"metric": "eval/reward_mean", "by": "language", "at_least": min(means.values()), "gap_at_most": gap - 0.01}
    verdicts = judge(run, gates(tmp_path, bound))
    assert [v.passed for v in verdicts] == [True, True, False]
    assert verdicts[2].value == pytest.approx(gap) and "gap of eval/reward_mean by language" in verdicts[2].gate
    cut = {"metric": "eval/truncated_share", "by": "language", "at_most": 1}
    assert all(v.passed for v in judge(run, gates(tmp_path, cut)))


@pytest.mark.parametrize(
    ("bound", "error", "said"),
    [
        ({"metric": "eval/reward_mean"}, UserError, "needs at_least"),
        ({"metric": "eval/reward_mean", "gap_at_most": 0.1}, UserError, "give by"),
        ({"metric": "eval/reward_mean", "at_lest": 0.1}, UserError, r"gates\[1\]\.at_lest"),
        ({"metric": "eval/reward_men", "at_least": 0.1}, UserError, "eval/reward_mean"),
        ({"metric": "eval/reward_mean", "at_least": 0.1, "by": "colour"}, NotFound, "no held-out row has this field"),
        ({"metric": "gap/max", "at_least": 0.1, "by": "language"}, UserError, "eval/truncated_share"),
    ],
)
def test_gates_that_say_nothing_are_refused(run, tmp_path, bound, error, said):
    with pytest.raises(error, match=said):
        judge(run, gates(tmp_path, bound))


def rehearsed(root, **changes):
    given = settings("rft", root, output_dir=None, **changes)
    return {check.name: check for check in rehearse(build_spec(given), seconds=20).checks}


def test_a_good_job_rehearses_well(root):
    checks = rehearsed(root, evaluator=f"{root / 'graders.py'}::same")
    assert {name: check.ok for name, check in checks.items()} == dict.fromkeys(
        ("data and template", "settings", "job", "grader"), True
    )
    assert "11 training rows" in checks["data and template"].said


@pytest.mark.parametrize(
    ("changes", "fault", "said"),
    [
        ({"evaluator": "broken"}, "grader", "absent"),
        ({"dataset": "nowhere.jsonl"}, "data and template", "no such dataset file"),
        ({"max_context_length": 16, "max_tokens": 12}, "data and template", "limit 16"),
        ({"base_model": "nowhere"}, "data and template", "no such base model"),
        ({"warm_start_from": "nowhere"}, "settings", "no adapter here"),
    ],
)
def test_faults_are_caught_and_named(root, changes, fault, said):
    grader = changes.get("evaluator", "same")
    checks = rehearsed(root, **{**changes, "evaluator": f"{root / 'graders.py'}::{grader}"})
    assert not checks[fault].ok and said in checks[fault].said


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_other_kinds_rehearse_too(root, kind):
    assert rehearse(build_spec(settings(kind, root, output_dir=None)), seconds=20).ok


def test_the_gates_of_the_docs_are_read(tmp_path):
    text = named_files(page("advice.md"))["gates.yaml"]
    (tmp_path / "gates.yaml").write_text(text)
    assert [gate.metric for gate in read_gates(tmp_path / "gates.yaml")][:2] == [
        "eval/reward_mean",
        "eval/truncated_share",
    ]
