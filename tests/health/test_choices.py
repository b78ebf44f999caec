"""Choices before a run: learning rate, kind of job, goals; and when to stop one."""

import pytest
from health.cases import history

from tunesmith.core.errors import UserError
from tunesmith.core.types import Finding
from tunesmith.health.learning_rate import learning_rate_rule
from tunesmith.health.stopping import why_stop
from tunesmith.health.task import Task, choose_kind
from tunesmith.spec import build_spec
from tunesmith.spec.goals import GOALS


@pytest.mark.parametrize(
    ("family", "hidden", "rate"),
    [
        # 5e-4 x (2000 / 2048)^0.781 = 5e-4 x 0.98165
        ("llama", 2048, 4.908e-4),
        ("llama", 4096, 2.856e-4),
        ("llama", 8192, 1.662e-4),
        # 5e-4 x (2000 / 2560)^0.0775 = 5e-4 x 0.98105
        ("qwen3", 2560, 4.905e-4),
        ("qwen3", 4096, 4.730e-4),
        ("qwen3_moe", 2048, 4.991e-4),
    ],
)
def test_the_rule_gives_the_rates_it_was_fitted_to(family, hidden, rate):
    assert learning_rate_rule(family, hidden, lora=True).learning_rate == pytest.approx(rate, rel=2e-4)
    assert learning_rate_rule(family, hidden, lora=False).learning_rate == pytest.approx(rate / 10, rel=2e-4)


def test_no_number_is_invented_and_extrapolation_is_told():
    assert learning_rate_rule("mistral", 4096, lora=True).learning_rate is None
    assert "for mistral it has no number" in learning_rate_rule("mistral", 4096, lora=True).note
    assert "extrapolated" in learning_rate_rule("qwen3", 128, lora=True).note
    assert "extrapolated" not in learning_rate_rule("qwen3", 2560, lora=True).note
    assert "4e-5" in learning_rate_rule("qwen3", 2560, lora=True).note


@pytest.mark.parametrize(
    ("task", "kind", "grader"),
    [
        (Task(1001, reasoning=True), "sft", ""),
        (Task(1000), "sft", ""),
        (Task(1000, reasoning=True), "rft", "the right answers"),
        (Task(101), "sft", ""),
        (Task(100), "rft", "the right answers"),
        (Task(0, verifiable=True), "rft", "a program"),
        (Task(0), "rft", "a judge"),
    ],
)
def test_sft_or_rft(task, kind, grader):
    choice = choose_kind(task)
    assert (choice.kind, choice.grader) == (kind, grader)
    assert str(task.labels or "no") in choice.reason


RFT = {"kind": "rft", "dataset": "rows.jsonl", "evaluator": "last_number"}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("kind", ["rft", "sft", "dpo"])
def test_a_goal_moves_the_defaults_inside_the_bounds(goal, kind):
    given = {**RFT, "kind": kind} if kind == "rft" else {"kind": kind, "dataset": "rows.jsonl"}
    plain = build_spec(given).model_dump()
    if not GOALS[goal].keys() & plain.keys():
        with pytest.raises(UserError, match=f"changes no setting of {kind} jobs"):
            build_spec(given | {"goal": goal})
        return
    moved = build_spec(given | {"goal": goal}).model_dump()
    changed = {name for name in plain if plain[name] != moved[name]}
    assert changed <= GOALS[goal].keys()
    assert changed or goal == "prevent-overfitting", "epochs are 1 already"


def test_what_is_given_wins_over_a_goal():
    spec = build_spec(RFT | {"goal": "safer", "temperature": 0.9})
    assert (spec.temperature, spec.top_p, spec.top_k) == (0.9, 0.5, 20)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"goal": "saver"}, "safer"),
        ({"goal": "faster-convergence", "epochs": 3}, "changes epochs, which you gave"),
    ],
)
def test_goals_that_cannot_be_met_are_refused(more, said):
    with pytest.raises(UserError, match=said):
        build_spec(RFT | more)


@pytest.mark.parametrize(
    ("name", "values", "patience", "stops_at"),
    [
        ("eval/reward_mean", [0.2, 0.5, 0.4, 0.5, 0.3], 2, 4),  # no better than 0.5 at the third and the fourth
        ("eval/reward_mean", [0.2, 0.5, 0.4, 0.6, 0.5], 2, None),
        ("eval/loss", [2.0, 1.0, 1.1, 1.2], 2, 4),
        ("eval/loss", [2.0, 1.0, 0.9], 1, None),
    ],
)
def test_patience_counts_evaluations_since_the_best(name, values, patience, stops_at):
    lines = history(**{name.replace("/", "__"): values})
    stops = [n for n in range(1, len(lines) + 1) if why_stop({"early_stop_patience": patience}, lines[:n], [])]
    assert stops[:1] == ([stops_at] if stops_at else [])
    assert why_stop({"early_stop_patience": None}, lines, []) == ""


def test_only_grave_findings_stop_and_only_when_asked():
    grave, mild = (Finding(level, level, 3, "saw 1", "advice") for level in ("error", "warning"))
    assert why_stop({"stop_on_findings": True}, [], [mild]) == ""
    assert why_stop({"stop_on_findings": False}, [], [grave]) == ""
    assert why_stop({"stop_on_findings": True}, [], [mild, grave]) == "error: saw 1 (stop_on_findings)"


def test_patience_without_evaluations_is_refused():
    with pytest.raises(UserError, match="early_stop_patience"):
        build_spec(RFT | {"early_stop_patience": 2})
