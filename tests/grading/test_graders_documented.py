"""docs/graders.md keeps up with the tables, and its examples run."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.core.types import Rollout
from tunesmith.grading import GRADERS, LABELS, build_grader
from tunesmith.grading.answers import TRUTH_FIELDS
from tunesmith.grading.process import MAX_PROCESSES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "graders.md").read_text("utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def examples(tmp_path):
    for name, source in FILES.items():
        (tmp_path / name).write_text(source)
    return tmp_path


def rewards(evaluator, cases):
    async def grade_all():
        async with build_grader(evaluator, timeout_s=10, memory_mb=512, workers=1) as grader:
            return [(await grader(Rollout((), text, 0, "stop"), row)).reward for text, row in cases]

    return asyncio.run(grade_all())


@pytest.mark.parametrize("name", GRADERS)
def test_every_built_in_has_a_row_with_its_arguments(name):
    row = next(line for line in PAGE.partition("## Built-ins")[2].splitlines() if line.startswith(f"| `{name}` |"))
    assert GRADERS[name].docs
    for argument in GRADERS[name].arguments():
        assert re.search(rf"`{argument}[`=]", row), argument
    inline = re.search(r"(`exact_match`, `contains`,[^.]*) run without a process", PAGE)
    assert inline is not None
    assert (f"`{name}`" in inline[1]) == (GRADERS[name].where == "inline")


def test_labels_fields_and_limits_are_those_of_the_code():
    assert re.findall(r"^\| `(\w+)` \| (?:ran|needed|let|left|raised|returned|found)", PAGE, re.MULTILINE) == [*LABELS]
    assert ", ".join(f"`{field}`" for field in TRUTH_FIELDS) in PAGE
    assert f"| processes at once | {MAX_PROCESSES} |" in PAGE


def test_the_examples_of_testing_a_grader_run(examples):
    subprocess.run([sys.executable, "-c", "import test_countdown as t; t.test_grade()"], cwd=examples, check=True)
    tried = subprocess.run([sys.executable, "try_grader.py"], cwd=examples, check=True, capture_output=True, text=True)
    assert tried.stdout.startswith("Score(reward=1.0")


def test_countdown(examples, shared_data):
    rows = [json.loads(line) for line in open_lines(shared_data / "rl/fireworks_cookbook/countdown_train_32.jsonl")]
    solved = [(f"<think>hm</think><answer>{found}</answer>", row) for row in rows if (found := solution(row))]
    assert len(solved) >= 10
    wrong = [(text.replace("</answer>", " + 1</answer>"), row) for text, row in solved]
    found = rewards(f"{examples}/countdown.py::grade", [*solved, *wrong, ("<answer>()</answer>", rows[0])])
    assert found == [1.0] * len(solved) + [0.1] * len(wrong) + [0.0]


def test_instructions(examples, shared_data):
    rows = [json.loads(line) for line in open_lines(shared_data / "rl/ifeval/ifeval_prompts_first_241.jsonl")]
    [row] = [row for row in rows if row["key"] == 1000]
    good = "*one* *two* *three* " + "word " * 300
    cases = [(good, row), (good + ",", row), ("*one*,", row)]
    assert rewards(f"{examples}/instructions.py::grade", cases) == pytest.approx([1, 2 / 3, 0])


def open_lines(path):
    return path.read_text("utf-8").splitlines()


def solution(row):
    """An expression for a row of three numbers, by trying them all."""
    truth = json.loads(row["ground_truth"])
    if len(truth["numbers"]) != 3:
        return None
    for (a, b, c), p, q in itertools.product(itertools.permutations(truth["numbers"]), "+-*/", "+-*/"):
        for text in (f"({a} {p} {b}) {q} {c}", f"{a} {p} ({b} {q} {c})"):
            try:
                if eval(text) == truth["target"]:
                    return text
            except ZeroDivisionError:
                continue
    return None
