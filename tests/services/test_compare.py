"""Runs side by side."""

import json

import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.types import Finding
from tunesmith.services.compare import MOST_STEPS, compare_runs
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import RftSpec, SftSpec


@pytest.fixture
def make(tmp_path):
    def made(name, rewards, **changes):
        spec = RftSpec(dataset="d.jsonl", evaluator="exact_match", output_dir=name, **changes)
        run = RunFolder(tmp_path / name).create(spec.model_dump(), "rft")
        for step, reward in rewards.items():
            run.append_metrics(step, {"rollout/reward_mean": reward})
        return run

    return made


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, "The settings agree"),
        ({"learning_rate": 2e-4}, "Only learning_rate differs"),
        ({"learning_rate": 2e-4, "seed": 1}, "2 settings differ, so the difference has no single cause."),
    ],
)
def test_the_note_says_what_the_difference_can_be_put_down_to(make, changes, note):
    comparison = compare_runs(make("a", {}), make("b", {}, **changes))
    assert comparison.note.startswith(note)
    assert set(comparison.settings) == set(changes)
    assert note in comparison.as_text()


def test_settings_and_metrics_stand_side_by_side(make):
    a, b = make("a", {1: 0.1, 2: 0.2, 3: 0.3}), make("b", {2: 0.5, 3: 0.6, 4: 0.7}, epochs=2)
    a.append_metrics(2, {"eval/reward_mean": 0.9})
    a.write_findings([Finding("solved", "info", 3, "saw", "advice")])
    comparison = compare_runs(a, b)
    assert comparison.settings == {"epochs": (1, 2)}
    assert comparison.metrics == {"rollout/reward_mean": [(2, (0.2, 0.5)), (3, (0.3, 0.6))]}
    assert comparison.card["heldout_reward_before"] == (0.9, None)
    assert comparison.card["findings"] == ("solved", "none")
    text = comparison.as_text().splitlines()
    assert ["epochs", "1", "2"] in [line.split() for line in text]
    assert ["step", "3", "0.3", "0.6"] in [line.split() for line in text]
    assert ["heldout_reward_before", "0.9", "-"] in [line.split() for line in text]


def test_runs_are_called_by_their_names_or_where_these_are_alike_by_their_paths(make, tmp_path):
    first, second = make("first", {1: 0.1}), make("second", {1: 0.2}, seed=1)
    [heading] = [line for line in compare_runs(first, second).as_text().splitlines() if line.startswith("setting")]
    assert heading.split() == ["setting", "first", "second"]
    other = RunFolder(tmp_path / "elsewhere" / "first").create(first.spec(), "rft")
    assert compare_runs(first, other).names == (str(first.path), str(other.path))


def test_a_list_of_nothing_is_said(make):
    runs = [make(name, {1: 0.1}) for name in ("one", "two")]
    for run in runs:
        run.set_state("COMPLETED", step=1)
        run.write_card({**run.card(), "reward_hack_signs": [], "findings": []})
    lines = [line.split() for line in compare_runs(*runs).as_text().splitlines()]
    assert ["reward_hack_signs", "none", "none"] in lines


def test_the_dict_is_json(make):
    comparison = compare_runs(make("a", {1: 0.1}), make("b", {1: 0.2}, seed=3))
    decoded = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert decoded["settings"] == {"seed": [0, 3]}
    assert decoded["metrics"] == {"rollout/reward_mean": [[1, [0.1, 0.2]]]}


def test_a_setting_that_one_kind_lacks_is_absent(make, tmp_path):
    sft = RunFolder(tmp_path / "s").create(SftSpec(dataset="d.jsonl").model_dump(), "sft")
    settings = compare_runs(make("a", {}), sft).settings
    assert settings["evaluator"] == ("exact_match", "absent")
    assert settings["batch_size_samples"] == ("absent", 32)


def test_long_runs_show_few_steps_in_text_and_all_in_the_dict(make):
    rewards = {step: step / 100 for step in range(1, 101)}
    comparison = compare_runs(make("a", rewards), make("b", rewards))
    assert len(comparison.as_dict()["metrics"]["rollout/reward_mean"]) == 100
    steps = [line.split()[1] for line in comparison.as_text().splitlines() if line.startswith("step ")]
    assert (len(steps), steps[0], steps[-1]) == (MOST_STEPS, "1", "100")


def test_three_runs_stand_side_by_side_at_the_steps_that_two_of_them_have(make):
    a, b, c = make("a", {1: 0.1, 2: 0.2}), make("b", {2: 0.5, 3: 0.6}, epochs=2), make("c", {2: 0.7, 3: 0.8, 4: 0.9})
    comparison = compare_runs(a, b, c)
    assert comparison.settings == {"epochs": (1, 2, 1)}
    assert comparison.metrics == {"rollout/reward_mean": [(2, (0.2, 0.5, 0.7)), (3, (None, 0.6, 0.8))]}
    lines = [line.split() for line in comparison.as_text().splitlines()]
    assert ["setting", "a", "b", "c"] in lines and ["step", "3", "-", "0.6", "0.8"] in lines


@pytest.mark.parametrize("count", [1, 11])
def test_one_run_alone_and_too_many_are_refused(make, count):
    with pytest.raises(UserError, match=f"{count} cannot be compared. Give 2 to 10"):
        compare_runs(*(make(f"r{i}", {}) for i in range(count)))
