"""The pool around graders: what users may return, weighted sums, start-up errors, speed, cancelling, restarts."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout, Score
from tunesmith.grading import LABELS, build_grader
from tunesmith.grading.processes import members
from tunesmith.grading.verdict import as_score

pytestmark = pytest.mark.thorough

GRADERS_FILE = """
import asyncio
import os
import random

from tunesmith.grading import Score

import neighbour

def letters(completion, row):
    return completion.count("a")

async def slowly(completion, row):
    await asyncio.sleep(0.01)
    return {"score": 0.5, "reason": "so-so", "style": 1, "parts": {"length": 2}}

def scored(completion, row):
    return Score(row["answer"], {"x": 3.0}, "why")

def fails(completion, row):
    return 1 / 0

OWN = float(int.from_bytes(os.urandom(4), "big"))

def process(completion, row):
    return OWN

def chance(completion, row):
    return random.random() + len({"a", "b", "c"})

def order(completion, row):
    return {"reward": 0, "reason": "".join({"a", "b", "c", "d", "e"})}

def doubled(completion, row):
    return neighbour.double(row["answer"])

def litters(completion, row):
    found = len(os.listdir())
    os.makedirs("a/b")
    open("c", "w").close()
    os.chdir("a")
    print("litter")
    return found

def steps_aside(completion, row):
    if row.get("die"):
        import threading, time
        threading.Timer(0.05, lambda: os._exit(3)).start()
        return 0.0
    import time
    time.sleep(0.3)
    return 1.0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(GRADERS_FILE)
    (tmp_path / "neighbour.py").write_text("def double(x):\n    return 2 * x\n")
    return tmp_path


def rollout(text="banana"):
    return Rollout((), text, 0, "stop")


def grade(evaluators, *rows, workers=1, timeout_s=5.0, text="banana"):
    """The scores, or failures, of a text against rows, one after another."""

    async def one_by_one():
        async with build_grader(evaluators, timeout_s=timeout_s, memory_mb=512, workers=workers) as grader:
            found = []
            for row in rows:
                try:
                    found.append(await grader(rollout(text), row))
                except GradingError as e:
                    found.append(e)
            return found

    return asyncio.run(one_by_one())


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (1, Score(1.0)),
        (True, Score(1.0)),
        (np.float32(0.5), Score(0.5)),
        (np.bool_(True), Score(1.0)),
        (Fraction(1, 4), Score(0.25)),
        ({"reward": 1, "reason": None}, Score(1.0)),
        ({"score": 1, "reason": "why", "a": 2, "parts": {"b": True}}, Score(1.0, {"b": 1.0, "a": 2.0}, "why")),
        ({"reward": 1, "score": 3}, Score(1.0, {"score": 3.0})),
        (Score(0.5, {"a": 1}, "why"), Score(0.5, {"a": 1.0}, "why")),
    ],
)
def test_what_a_grader_may_return(value, score):
    assert as_score(value) == score


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1",
        [1],
        math.nan,
        math.inf,
        10**400,
        1j,
        {},
        {"points": 1},
        {"reward": "1"},
        {"reward": 1, "reason": 3},
        {"reward": 1, "extra": "text"},
        {"reward": 1, "parts": [1]},
        {"reward": 1, "parts": {"a": math.nan}},
        {"reward": 1, **{str(i): 0 for i in range(300)}},
        Score(math.nan),
        Score(1.0, {"a": None}),
    ],
)
def test_what_it_may_not(value):
    with pytest.raises(GradingError) as failure:
        as_score(value)
    assert failure.value.label == "bad_value"


def test_functions_of_a_file(folder):
    assert grade(f"{folder}/mine.py::letters", {}) == [Score(3.0)]
    assert grade(f"{folder}/mine.py::slowly", {}) == [Score(0.5, {"length": 2.0, "style": 1.0}, "so-so")]
    assert grade(f"{folder}/mine.py::scored", {"answer": 0.1}) == [Score(0.1, {"x": 3.0}, "why")]
    assert grade(f"{folder}/mine.py::doubled", {"answer": 4}) == [Score(8.0)]


def test_a_weighted_sum_logs_every_part_raw_and_weighted(folder):
    file = f"{folder}/mine.py"
    [score] = grade([f"{file}::letters=0.5", f"{file}::slowly=2", "exact_match=-1"], {"answer": "banana"})
    # 0.5 x 3 + 2 x 0.5 - 1 x 1
    assert score.reward == 1.5
    assert score.parts == {
        "letters": 3.0,
        "letters/weighted": 1.5,
        "slowly": 0.5,
        "slowly/weighted": 1.0,
        "slowly/length": 2.0,
        "slowly/style": 1.0,
        "exact_match": 1.0,
        "exact_match/weighted": -1.0,
    }
    assert score.reason == "slowly: so-so"


def test_weights_are_as_given_and_a_missing_one_is_1(folder):
    [score] = grade([f"{folder}/mine.py::letters=0.5"], {})
    assert (score.reward, score.parts) == (1.5, {"letters": 3.0, "letters/weighted": 1.5})
    [score] = grade(["contains", "contains:ignore_case=true"], {"answer": "BAN"})
    assert score.parts == {"contains": 0.0, "contains/weighted": 0.0, "contains_2": 1.0, "contains_2/weighted": 1.0}


def test_a_failing_part_fails_the_whole_and_is_named(folder):
    [failure] = grade(["exact_match=0.5", f"{folder}/mine.py::fails=0.5"], {"answer": "banana"})
    assert failure.label == "error"
    assert failure.detail.startswith("fails: ") and "ZeroDivisionError" in failure.detail


def test_a_sum_that_overflows_is_a_bad_value(folder):
    [failure] = grade([f"{folder}/mine.py::scored=10"], {"answer": 1e308})
    assert failure.label == "bad_value"


def test_a_row_that_json_cannot_carry_is_a_bad_row(folder):
    failure, score = grade(f"{folder}/mine.py::letters", {"when": object()}, {})
    assert failure.label == "bad_row"
    assert score == Score(3.0)


@pytest.mark.parametrize("text", ["", "\ud800 half a pair", "\0\n\r\u2028", "x" * 3_000_000])
def test_any_text_reaches_the_grader_whole(tmp_path, text):
    (tmp_path / "echo.py").write_text(
        "import zlib\ndef grade(c, r): return zlib.crc32(c.encode('utf-8', 'surrogatepass'))\n"
    )
    import zlib

    [score] = grade(f"{tmp_path}/echo.py::grade", {}, text=text)
    assert score.reward == zlib.crc32(text.encode("utf-8", "surrogatepass"))


def test_results_do_not_depend_on_the_worker(folder):
    async def everywhere(name, workers):
        async with build_grader(f"{folder}/mine.py::{name}", timeout_s=5, memory_mb=256, workers=workers) as grader:
            return await asyncio.gather(*(grader(rollout(f"text {i}"), {}) for i in range(40)))

    for name in ("chance", "order"):
        assert asyncio.run(everywhere(name, 1)) == asyncio.run(everywhere(name, 2)), name


def test_work_is_spread_over_the_workers(folder):
    async def processes():
        async with build_grader(f"{folder}/mine.py::process", timeout_s=5, memory_mb=256, workers=2) as grader:
            scores = await asyncio.gather(*(grader(rollout(), {}) for _ in range(40)))
            return {score.reward for score in scores}

    assert len(asyncio.run(processes())) == 2


@pytest.mark.parametrize(
    ("source", "evaluator", "says"),
    [
        ("import nothing_like_this", "bad.py::grade", "No module named 'nothing_like_this'"),
        ("def grade(c, r:\n  pass", "bad.py::grade", "SyntaxError"),
        ("raise SystemExit(3)", "bad.py::grade", "SystemExit: 3"),
        ("def other(c, r): return 1", "bad.py::grade", "no function 'grade'; it defines other"),
        ("grade = 3", "bad.py::grade", "no function 'grade'; it defines no functions"),
        ("def grade(completion): return 1", "bad.py::grade", "grade(completion) cannot take (completion, row)"),
        ("import os; os._exit(3)", "bad.py::grade", "exit status 3"),
        ("x = bytearray(4 << 30)", "bad.py::grade", "MemoryError"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path, source, evaluator, says):
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(UserError) as refused:
        grade(f"{tmp_path}/{evaluator}")
    assert says in str(refused.value)
    assert "bad.py::grade" in refused.value.where


@pytest.mark.parametrize(
    ("evaluator", "says"),
    [
        ("exact_mach", "Did you mean 'exact_match'?"),
        ("exact_match:feild=x", "Did you mean 'field'?"),
        ("length:target=many", "length.target: must be int (got 'many')"),
        ("exact_match:ignore_case=yes", "must be true or false (got 'yes')"),
        ("exact_match=heavy", "is 'heavy'"),
        ("exact_match=nan", "as in =0.5"),
        ("regex:pattern=a=b", "inside a value write %3D"),
        ("regex:pattern=a=b&ignore_case=true", "Write = inside a value as %3D"),
        ("mine.py", "cannot read 'mine.py'"),
        ("mine.py:grade", "cannot read 'mine.py:grade'"),
        ("", "cannot read ''"),
        ([], "none given"),
    ],
)
def test_an_evaluator_that_cannot_be_read_is_refused(evaluator, says):
    with pytest.raises(UserError) as refused:
        build_grader(evaluator, timeout_s=5, memory_mb=256, workers=1)
    assert says in str(refused.value)


def test_a_missing_file_suggests_the_nearest(folder):
    with pytest.raises(NotFound, match=r"Did you mean 'mine\.py'"):
        build_grader(f"{folder}/min.py::letters", timeout_s=5, memory_mb=256, workers=1)


@pytest.mark.parametrize(
    ("evaluator", "text", "row", "reward"),
    [
        ("length:target=12&unit=characters", "twelve chars", {}, 1.0),
        ("length:target=12&unit=characters=0.5", "twelve chars", {}, 0.5),
        ("length:target=12=0.5", "twelve chars", {}, 0.5 * 2 / 12),
        (r"regex:pattern=x %3D (\d+)", "x = 3", {"answer": 3}, 1.0),
        ("regex:pattern=a|b=2", "b", {}, 2.0),
    ],
)
def test_arguments_and_weights_of_built_ins(evaluator, text, row, reward):
    assert grade(evaluator, row, text=text)[0].reward == pytest.approx(reward)


def test_an_innocent_call_does_not_pay_for_an_earlier_one(folder):
    dying, innocent = grade(f"{folder}/mine.py::steps_aside", {"die": True}, {})
    assert dying == Score(0.0)
    assert innocent == Score(1.0)


def test_every_call_starts_in_an_empty_folder(folder):
    assert grade(f"{folder}/mine.py::litters", {}, {}, {}) == [Score(0.0)] * 3


def test_a_cancelled_call_leaves_the_pool_in_order(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ndef grade(c, r):\n    time.sleep(r['s'])\n    return r['s']\n")

    async def cancel():
        async with build_grader(f"{tmp_path}/slow.py::grade", timeout_s=30, memory_mb=256, workers=1) as grader:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await grader(rollout(), {"s": 20})
            return await grader(rollout(), {"s": 0.01})

    assert asyncio.run(cancel()) == Score(0.01)


def test_stats_count_calls_failures_and_time(folder):
    async def some():
        async with build_grader(f"{folder}/mine.py::scored", timeout_s=5, memory_mb=256, workers=1) as grader:
            for row in ({"answer": 1}, {"answer": None}, {}):
                try:
                    await grader(rollout(), row)
                except GradingError as e:
                    assert e.label in LABELS
            return grader.stats()

    stats = asyncio.run(some())
    assert (stats.calls, stats.failures, stats.restarts) == (3, {"bad_value": 1, "error": 1}, 0)
    assert 0 < stats.seconds_max <= stats.seconds_total


def test_a_thousand_calls_a_second(tmp_path, record_property):
    (tmp_path / "quick.py").write_text("def grade(c, r): return float(c == r['answer'])\n")
    calls = 2000

    async def measure():
        async with build_grader(f"{tmp_path}/quick.py::grade", timeout_s=5, memory_mb=256, workers=2) as grader:
            await asyncio.gather(*(grader(rollout(), {"answer": "banana"}) for _ in range(200)))
            began = time.perf_counter()
            scores = await asyncio.gather(*(grader(rollout(), {"answer": "banana"}) for _ in range(calls)))
            assert {score.reward for score in scores} == {1.0}
            return calls / (time.perf_counter() - began)

    rate = asyncio.run(measure())
    record_property("calls_per_second", round(rate))
    print(f"{rate:.0f} calls/s")
    assert rate >= 300, "a machine to itself gives 1,000 and more"


def test_workers_die_with_their_parent(folder):
    script = f"""
import asyncio
from tunesmith.core.types import Rollout
from tunesmith.grading import build_grader
async def main():
    grader = build_grader("{folder}/mine.py::process", timeout_s=5, memory_mb=256, workers=1)
    print((await grader(Rollout((), "", 0, "stop"), {{}})).reward, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={"TMPDIR": str(folder)},
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert float(parent.stdout.readline())
    workers = set(members(parent.pid, None)) - {parent.pid}
    assert workers
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{worker}") for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [worker for worker in workers if os.path.exists(f"/proc/{worker}")]
