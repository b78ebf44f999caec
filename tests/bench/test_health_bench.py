"""The bench of the health rules: its recorded runs, its table, and what it promises."""

import random
from pathlib import Path

import pytest

from bench.health import BEGIN, END, PAGE, judge, read_results, report
from bench.health_runs import FAULTY, HEALTHY, write_rows
from tunesmith.health import END_RULES, RULES, TIME_RULES, examine
from tunesmith.spec import RftSpec

RECORDED = [case for case in (*FAULTY, *HEALTHY) if case.recorded]


def test_there_are_as_many_runs_as_promised_each_with_a_name_of_its_own():
    assert (len(FAULTY), len(HEALTHY)) == (25, 25)
    assert len({case.name for case in (*FAULTY, *HEALTHY)}) == 50
    assert {case.rule for case in FAULTY} <= {rule.__name__ for rule in (*RULES, *END_RULES, *TIME_RULES)}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_recorded_runs_are_told_right(case, tmp_path):
    assert judge(case, tmp_path).right


def test_faults_in_recorded_runs_are_told_right_whatever_the_seed():
    spec = RftSpec(dataset="rows.jsonl", evaluator="last_number").model_dump()
    wrong = []
    for case in RECORDED:
        for seed in range(40):
            lines = case.recorded(random.Random(seed))
            found = examine([] if case.timed else lines, spec, True, lines if case.timed else ())
            first = found[0].rule if found else ""
            right = first == case.rule if case.rule else all(f.level == "info" for f in found)
            wrong += [] if right else [(case.name, seed, first)]
    assert len(wrong) <= 0.05 * 40 * len(RECORDED), wrong


@pytest.mark.thorough
def test_a_real_fault_is_told_right(tmp_path):
    write_rows(tmp_path)
    [case] = [case for case in FAULTY if case.name == "half of each answer cut off"]
    outcome = judge(case, tmp_path)
    assert outcome.right and "max_tokens: 12 -> 24" in outcome.findings[0]["advice"]


def test_the_page_is_made_of_the_results_and_they_keep_the_promise():
    results = read_results()
    assert [o.name for o in results] == [case.name for case in (*FAULTY, *HEALTHY)]
    text = Path(PAGE).read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert text == report(results)
    assert sum(o.right for o in results if o.rule) >= 0.9 * 25
    assert sum(o.right for o in results if not o.rule) >= 0.95 * 25
