"""Every rule fires on the history made for it, at the step where its evidence is complete, and on nothing healthy."""

import math
import random
import re
import time
from pathlib import Path

import pytest
from health.cases import CASES, RFT, SFT, drift, history

from tunesmith.core.types import Change
from tunesmith.health import END_RULES, RULES, TIME_RULES, examine
from tunesmith.health.advice import double, propose, show, words
from tunesmith.health.history import Lines
from tunesmith.spec import build_spec


def healthy_rft(steps=20, seed=0, top=0.85):
    """A reward that climbs and levels off with noise, and quiet neighbours."""
    rng = random.Random(seed)
    reward = [0.2 + (top - 0.2) * (1 - math.exp(-s / 4)) + rng.gauss(0, 0.03) for s in range(steps)]
    return history(
        rollout__reward_mean=reward,
        rollout__reward_std=[0.35] * steps,
        rollout__signal_share=[max(0.3, 0.7 - 0.02 * s) for s in range(steps)],
        rollout__failed_share=[0.01] * steps,
        rollout__truncated_share=[0.05] * steps,
        rollout__length_mean=[120 + rng.gauss(0, 5) for _ in range(steps)],
        rollout__repetition_mean=[0.04] * steps,
        rollout__distinct_share=[max(0.3, 0.9 - 0.02 * s) for s in range(steps)],
        part__format__raw=[min(0.99, 0.5 + 0.1 * s) for s in range(steps)],
        policy__kl_ref=[min(0.0004 * s, 0.009) for s in range(steps)],
        gap__max=[9.5e-7] * steps,
        optim__grad_norm=[0.4] * steps,
        optim__weight_change=[0.01] * steps,
        train__oom_splits=[0] * steps,
        loss__policy=[0.0] * steps,
    )


def healthy_sft(steps=12):
    held_out = [2.0 if s == 0 else 1.5 - 0.02 * s if s % 3 == 0 else None for s in range(steps)]
    return history(
        train__loss=[2.0 - 0.1 * s for s in range(steps)], eval__loss=held_out, optim__weight_change=[0.1] * steps
    )


@pytest.mark.parametrize(("rule", "level", "step", "lines", "settings", "change"), CASES)
def test_a_rule_fires_at_its_step(rule, level, step, lines, settings, change):
    finished = rule in {r.__name__ for r in END_RULES}
    firing = [f for n in range(1, len(lines) + 1) for f in examine(lines[:n], settings, finished) if f.level == level]
    assert {f.rule for f in firing} == {rule}
    assert (firing[0].step, change in firing[0].advice) == (step, True), firing[0]
    assert re.search(r"\d", firing[0].saw), "a finding shows its numbers"


@pytest.mark.parametrize(("rule", "level", "step", "lines", "settings", "change"), CASES)
def test_a_history_that_grows_is_judged_as_one_that_is_read_anew(rule, level, step, lines, settings, change):
    growing = Lines()
    for n, line in enumerate(lines, start=1):
        growing.append(line)
        assert examine(growing, settings, finished=True) == examine(lines[:n], settings, finished=True)
    assert (growing[-1], len(growing)) == (lines[-1], len(lines))


def test_ten_thousand_steps_are_judged_in_a_fraction_of_a_step():
    lines = Lines(healthy_rft(steps=10_000))
    examine(lines, RFT)
    began = time.process_time()
    examine(lines, RFT)
    assert time.process_time() - began < 1, "some 0.05 CPU-seconds"


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        *((healthy_rft(seed=seed), RFT) for seed in range(5)),
        (healthy_rft(steps=1), RFT),
        (healthy_rft(steps=60, top=0.5), {}),
        (healthy_sft(), SFT),
        ([], RFT),
        ([{"step": 0, "eval/reward_mean": 0.2}], RFT),
    ],
)
def test_a_healthy_run_has_no_findings_at_any_step(lines, settings):
    assert [f for n in range(len(lines) + 1) for f in examine(lines[:n], settings)] == []
    assert examine(lines, settings, finished=True) == []


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        ("steady format at the top", history(part__format__raw=[0.95] * 8)),
        ("format that still improves", history(part__format__raw=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75])),
        ("one dull step", history(rollout__signal_share=[0.5, 0.0, 0.5, 0.0, 0.1, 0.3], rollout__reward_std=[0.1] * 6)),
        ("a dip that recovers", history(rollout__reward_mean=[0.2, 0.3, 0.5, 0.7, 0.1, 0.7, 0.7])),
        ("no groups with variance, so no update", history(optim__weight_change=[0.0], rollout__signal_share=[0.0])),
        (
            "right answers alike in a group",
            history(rollout__reward_mean=[0.2] * 3 + [0.9] * 3, rollout__distinct_share=[0.9] * 3 + [0.2] * 3),
        ),
        (
            "a last step of two prompts that share their right answer",
            history(
                rollout__reward_mean=[0.2] * 3 + [0.9] * 3,
                rollout__groups=[32] * 5 + [2],
                rollout__top_text_prompts=[0.0] * 3 + [0.1, 0.1, 1.0],
                rollout__distinct_share=[0.9] * 3 + [0.07, 0.07, 0.06],
            ),
        ),
        (
            "two right answers, each of half the prompts",
            history(rollout__reward_mean=[0.2] * 3 + [0.9] * 3, rollout__top_text_prompts=[0.0] * 3 + [0.55] * 3),
        ),
        ("odd texts without reward", history(rollout__reward_mean=[0.2] * 6, rollout__length_mean=[10] * 3 + [90] * 3)),
        (
            "learns to stop",
            history(
                rollout__reward_mean=[0.2] * 3 + [0.9] * 3,
                rollout__length_mean=[60] * 3 + [4] * 3,
                rollout__truncated_share=[0.9] * 3 + [0.0] * 3,
            ),
        ),
        ("both losses rise", history(eval__loss=[2.0, 1.5, 1.6, 1.7], train__loss=[1.5, 1.5, 1.8, 1.9])),
        ("far, but the reward needed it", drift(0.6, 20, [0.01] * 3 + [0.94] * 3)),
        ("far per response, near per token", drift(0.005, 8000)),
        ("one update a step is never stale", history(policy__clip_share_last=[0.3] * 3, optim__updates=[1] * 3)),
        (
            "certain, and still rising",
            history(rollout__entropy=[1.0] * 3 + [0.1] * 3, rollout__reward_mean=[0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        ),
        ("diverse at temperature 0.7", history(rollout__entropy=[2.5] * 3)),
        (
            "a part that is earned",
            history(part__a__share=[0.99] * 3, part__b__share=[0.01] * 3, part__b__raw=[0.97] * 3),
        ),
        ("a narrow reward from the start", history(rollout__reward_std=[0.04] * 6, rollout__reward_mean=[0.5] * 6)),
        (
            "four held-out rows by chance",
            history(rollout__reward_mean=[0.5, 0.4], eval__reward_mean=[0.6, 0.0], eval__groups=[4, 4]),
        ),
        ("one worse evaluation", history(eval__loss=[2.0, 1.5, 1.6], train__loss=[2.0, 1.5, 1.0])),
    ],
)  # fmt: skip
def test_what_only_looks_ill_is_left_alone(case, lines):
    assert {f.rule for f in examine(lines, RFT)} <= {"truncation"}, case


def test_noise_is_neither_a_crash_nor_a_climb():
    fired = 0
    for seed in range(300):
        rng = random.Random(seed)
        noise = history(rollout__reward_mean=[0.5 + rng.gauss(0, 0.1) for _ in range(30)])
        fired += len({f.rule for f in examine(noise, RFT, finished=True)} - {"small_groups"})
    assert fired <= 300 * 0.02


def test_the_first_update_of_a_warm_up_may_be_empty():
    lines = history(optim__weight_change=[0.0, 0.0])
    warming = RFT | {"learning_rate_warmup_steps": 10}
    assert [bool(examine(lines[:n], warming)) for n in (1, 2)] == [False, True]


def test_gravest_first_and_without_settings_the_advice_is_words():
    lines = history(train__oom_splits=[1], optim__weight_change=[0.0], rollout__truncated_share=[0.5])
    found = examine(lines)
    assert [f.level for f in found] == ["error", "warning", "info"]
    assert not any("->" in f.advice for f in found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_tokens": 2048}, Change("max_tokens", 2048, 4096, "more")),
        ({"max_tokens": 16384}, Change("max_tokens", 16384, "raise it", "more", by_hand=True)),
        ({"max_tokens": 16384, "limits": "off"}, Change("max_tokens", 16384, 32768, "more")),
        ({"top_k": 5, "max_tokens": 16384}, Change("top_k", 5, 6, "more")),
        ({}, Change("max_tokens", None, "raise it", "more", by_hand=True)),
    ],
)
def test_proposals_stay_inside_the_bounds(settings, expected):
    options = [("max_tokens", double), ("top_k", lambda k: k + 1)]
    assert propose(settings, "more", *options, by_hand=("max_tokens", "raise it")) == expected


TIMES = [
    {"step": s, "time/rollout_s": 4.0, "time/train_s": 4.0, "time/eval_s": 0.0, "time/grade_s": 0.0}
    for s in range(1, 9)
]


@pytest.mark.parametrize(
    ("rule", "name", "seconds", "change"),
    [
        ("slow_grader", "time/grade_s", 3.0, "evaluator: make it faster"),  # 24 s of 64 s
        ("time_lost", "time/eval_s", 9.0, "eval_every: 2 -> 4"),  # 72 s of 136 s
    ],
)
def test_lost_time_is_found_where_a_clock_was_read(rule, name, seconds, change):
    assert examine([], RFT, timing=TIMES) == []
    lost = [line | {name: seconds} for line in TIMES]
    [found] = examine([], RFT | {"eval_every": 2}, timing=lost)
    assert found.rule == rule and change in found.advice
    assert examine([], RFT, timing=[line | {name: seconds / 5} for line in lost]) == []


def test_every_finding_carries_its_one_change_as_data():
    for rule, _, _, lines, settings, _ in CASES:
        finished = rule in {r.__name__ for r in END_RULES}
        for found in examine(lines, settings, finished):
            assert found.change is not None and found.change.expect, found
            assert found.advice == words(found.change)
            if not found.change.by_hand:
                kind = build_spec({**settings, found.change.setting: found.change.new}).kind
                assert kind == settings["kind"], "the new value is one that a job takes"


@pytest.mark.parametrize(
    ("value", "text"), [(1e-5, "1e-5"), (0.00015, "0.00015"), (0.7, "0.7"), (1.0, "1"), (True, "true")]
)
def test_settings_are_shown_as_typed(value, text):
    assert show(value) == text


def test_every_rule_is_documented_and_made_to_fire():
    names = {rule.__name__ for rule in RULES + END_RULES}
    timed = {rule.__name__ for rule in TIME_RULES}
    page = Path(__file__).parents[2].joinpath("docs", "findings.md").read_text("utf-8")
    assert names == {case[0] for case in CASES}
    assert names | timed == set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
