"""Groups in every order, search in every text, one group and one attempt; and a step of very many attempts."""

import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from services.made_runs import decode, group, judged, rollout, segment

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.types import Group, Rollout, Score
from tunesmith.recipes.report import TokenUpdate
from tunesmith.services.rollout_browser import ORDERS, Token, attempts, groups, tokens
from tunesmith.services.run_folder import RunFolder


@pytest.fixture
def file(tmp_path):
    """Mean rewards 0.5, 0.9 and 0.1; spreads 1, 0 and 0.2; one of the third group's gradings failed."""
    sure = Group("b", {}, tuple(rollout([9], 0.9, text="Ninety percent") for _ in range(2)))
    made = [group("a", [0.0, 1.0]), sure, group("c", [0.0, 0.2, None], reason="Nearly right")]
    return RunFolder(tmp_path).write_rollouts("step", 3, made, judged(made), decode)


@pytest.mark.parametrize(
    ("order", "ids"),
    [("file", "abc"), ("reward", "bac"), ("-reward", "cab"), ("spread", "acb"), ("advantage", "abc")],
)
def test_orders(file, order, ids):
    found, total = groups(file, order, "", 10, 0)
    assert ("".join(line.prompt_id for line in found), total) == (ids, 3)


def test_the_least_expected_text_comes_first(tmp_path):
    likely, odd = (Group(name, {}, (rollout([7], 1.0), rollout([8], 0.0))) for name in ("likely", "odd"))
    for attempt in odd.rollouts:
        attempt.segments[0].logprobs[-1] = -9.0
    made = [likely, odd]
    file = RunFolder(tmp_path).write_rollouts("step", 1, made, judged(made), decode)
    assert [line.prompt_id for line in groups(file, "surprise", "", 10, 0)[0]] == ["odd", "likely"]


@pytest.mark.parametrize(
    ("search", "ids"),
    [("ninety", ["b"]), ("nearly", ["c"]), ("TIMEOUT", ["c"]), ("1 2", ["a", "b", "c"]), ("zebra", [])],
)
def test_search_in_texts_reasons_errors_and_prompts(file, search, ids):
    found, total = groups(file, "file", search, 10, 0)
    assert ([line.prompt_id for line in found], total) == (ids, len(ids))


def test_a_line_says_what_was_trained_and_why_not(file):
    found, _ = groups(file, "file", "", 1, 2)
    [line] = found
    assert (line.prompt, line.rewards, line.attempts, line.trained) == ("1 2", [0.0, 0.2], 3, 2)
    assert line.why == "grading failed"


def test_a_group_and_an_attempt(file):
    prompt, found = attempts(file, "c")
    assert prompt == "1 2"
    assert [(a["candidate"], a["reward"]) for a in found] == [(1, 0.2), (0, 0.0), (2, None)]
    assert found[2]["error"] == "timeout: 10 s"
    assert tokens(file, "c", 1) == [Token(11, pytest.approx(-0.5), None, None, False)]


def test_what_the_update_saw_of_a_token_and_older_files_without_it(tmp_path):
    seen = replace(segment((1, 2), [7, 8]), entropies=np.array([0, 0, 0.25, 1.5], np.float32))
    attempt = Rollout((seen,), "x", 0, "stop", Score(1.0))
    update = TokenUpdate(np.array([0, 0, 1, 1.5], np.float32), np.array([False, False, False, True]))
    made, folder = [Group("p", {}, (attempt,))], RunFolder(tmp_path)
    file = folder.write_rollouts("step", 1, made, [[(0.5, "")]], decode, [[update]])
    assert tokens(file, "p", 0) == [Token(7, -0.5, 0.25, 1.0, False), Token(8, -0.5, 1.5, 1.5, True)]
    old = pq.read_table(file).drop_columns(["entropies", "ratios", "clipped"])
    pq.write_table(old, file)
    assert tokens(file, "p", 0) == [Token(7, -0.5, None, None, False), Token(8, -0.5, None, None, False)]


def test_what_is_not_there(file):
    with pytest.raises(NotFound, match="no group"):
        attempts(file, "z")
    with pytest.raises(NotFound, match="no attempt 9"):
        tokens(file, "a", 9)
    with pytest.raises(UserError, match="order"):
        groups(file, "luck", "", 1, 0)


@pytest.mark.thorough
def test_a_step_of_100_000_attempts_is_quick(tmp_path):
    made = [group(f"p{i}", [math.sin(i), 0.5, 0.25, 0.125], reason="because") for i in range(25_000)]
    file = RunFolder(tmp_path).write_rollouts("step", 1, made, judged(made), decode)
    for order in ORDERS:
        began = time.process_time()
        found, total = groups(file, order, "", 20, 40)
        assert (len(found), total) == (20, 25_000)
        assert time.process_time() - began < 5, order  # 0.1 to 0.4 CPU-seconds


def test_the_first_look_loads_nothing_more_once_it_is_at_hand(file):
    """In a process of its own, because this one has loaded it all."""
    script = """
import sys
from pathlib import Path
from tunesmith.services import rollout_browser
before = set(sys.modules)
rollout_browser.load()
at_hand = set(sys.modules)
rollout_browser.groups(Path(sys.argv[1]), "surprise", "n", 10, 0)
print(len(at_hand - before) > 0, sorted(set(sys.modules) - at_hand))
"""
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stdout + done.stderr
