"""Whatever a grader does is a labelled failure, and the next honest call is graded right within two seconds."""

import asyncio
import os
import time

import pytest

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout
from tunesmith.grading import build_grader
from tunesmith.grading.sandbox import SETTING
from tunesmith.grading.sandbox.levels import trial

pytestmark = pytest.mark.thorough
ABUSES = """
import asyncio, ctypes, json, math, os, resource, signal, subprocess, sys, threading, time

def grade(completion, row):
    return globals()[row["do"]]()

def honest(): return 0.25
def sleep(): time.sleep(60)
def busy_loop():
    while True: pass
def slow_pattern():
    import re
    re.match(r"(a+)+$", "a" * 40 + "b")
async def hang_async(): await asyncio.sleep(60)
def catches_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(60)
def exit_0(): sys.exit(0)
def exit_now(): os._exit(0)
def segfault(): ctypes.string_at(0)
def kill_self(): os.kill(os.getpid(), signal.SIGKILL)
def deep_recursion():
    sys.setrecursionlimit(10**9)
    f = lambda n: f(n + 1) + 1
    return f(0)
def fork_bomb():
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
def children_left_behind():
    for _ in range(40):
        subprocess.Popen(["sleep", "30"])
    return 1.0
def children_in_own_sessions():
    for _ in range(40):
        subprocess.Popen(["sleep", "30"], start_new_session=True)
    time.sleep(60)
def thread_bomb():
    for _ in range(300):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    return 1.0
def memory_hog(): return float(len(bytearray(4 << 30)))
def memory_hog_in_steps():
    held = []
    while True: held.append(bytearray(16 << 20))
def memory_hogs_together():
    for _ in range(5):
        if os.fork() == 0:
            held = bytearray(b"x") * (70 << 20)
            time.sleep(30)
            os._exit(0)
    time.sleep(60)
def gigabyte_of_output():
    for _ in range(1024): print("x" * (1 << 20))
def gigabyte_unseen():
    for _ in range(16384):
        try: os.write(1, b"x" * (1 << 16))
        except OSError: pass
    return 0.5
def ten_gigabytes_unseen():
    for _ in range(163840):
        try: os.write(1, b"x" * (1 << 16))
        except OSError: pass
    return 0.5
def big_file():
    with open("big", "wb") as f:
        for _ in range(200): f.write(b"x" * (1 << 20))
def closes_stdout():
    sys.stdout.close(); os.close(1); os.close(2)
    return 0.5
def closes_everything():
    os.closerange(0, 4096)
    return 1.0
def writes_on_every_descriptor():
    for d in range(3, 128):
        try: os.write(d, b'{"id": "guess", "reward": 1.0, "parts": {}, "reason": ""}\\n')
        except OSError: pass
    return 1.0
def fake_protocol_lines():
    for _ in range(3): print(json.dumps({"id": "1", "reward": 1.0, "parts": {}, "reason": ""}), flush=True)
    return 0.5
def patches_json():
    json.dumps = lambda *a, **k: '{"reward": 1.0}'
    json.loads = lambda *a, **k: {"completion": "", "row": {}}
    json.JSONEncoder.encode = json.JSONEncoder.iterencode = json.dumps
    return 0.5
def returns_twice():
    os.fork()
    return 0.5
def reads_input(): return 0.5 if sys.stdin.read() == "" else 1.0
def removes_its_folder():
    try: os.rmdir(os.getcwd())
    except PermissionError: pass  # as landlock says
    return 0.5
def returns_nan(): return math.nan
def returns_inf(): return -math.inf
def returns_text(): return "1.0"
def returns_none(): return None
def returns_list(): return [1.0]
def returns_dict_without_reward(): return {"points": 1.0}
def returns_nan_part(): return {"reward": 1.0, "style": math.nan}
def returns_huge_int(): return 10**400
def raises(): raise ValueError("no such answer")
def raises_base(): raise BaseException("no")
def raises_interrupt(): raise KeyboardInterrupt
def raises_memory(): raise MemoryError
def raises_unprintable():
    class Odd(Exception):
        def __str__(self): raise SystemExit
    raise Odd
def kills_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    return 1.0
def sees_environment(): return {"reward": 0.5} if "TUNESMITH_TEST_SECRET" not in os.environ else 1.0
"""

# Failures that cost the process, then failures that it survives.
DEADLY = {
    "sleep": "timeout",
    "busy_loop": "timeout",
    "slow_pattern": "timeout",
    "hang_async": "timeout",
    "catches_sigterm": "timeout",
    "exit_now": "crash",
    "segfault": "crash",
    "kill_self": "crash",
    "fork_bomb": "processes",
    "children_left_behind": "processes",
    "children_in_own_sessions": "processes",
    "memory_hog": "memory",
    "memory_hog_in_steps": "memory",
    "memory_hogs_together": "memory",
    "closes_everything": "crash",
    "writes_on_every_descriptor": "crash",
    "raises_memory": "memory",
}
SURVIVED = {
    "exit_0": "error",
    "gigabyte_of_output": "error",
    "big_file": "error",
    "returns_nan": "bad_value",
    "returns_inf": "bad_value",
    "returns_text": "bad_value",
    "returns_none": "bad_value",
    "returns_list": "bad_value",
    "returns_dict_without_reward": "bad_value",
    "returns_nan_part": "bad_value",
    "returns_huge_int": "bad_value",
    "raises": "error",
    "raises_base": "error",
    "raises_interrupt": "error",
    "raises_unprintable": "error",
}
HARMLESS = [
    "gigabyte_unseen",
    "closes_stdout",
    "fake_protocol_lines",
    "patches_json",
    "returns_twice",
    "reads_input",
    "removes_its_folder",
    "sees_environment",
]
TIMEOUT_S = 1.0
SOON_S = 20.0
"""Before any of the sleeps is over."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a grader a user of its own")


@pytest.fixture(
    autouse=True,
    params=["auto", *(pytest.param(level, marks=pytest.mark.slow) for level in ("namespaces", "landlock", "limits"))],
)
def level(request, monkeypatch):
    """The best level, and in the long run the others too."""
    if request.param != "auto" and (problem := trial(request.param)):
        pytest.skip(f"{request.param}: {problem}")
    monkeypatch.setenv(SETTING, request.param)
    return request.param


@pytest.fixture
def evaluator(tmp_path):
    (tmp_path / "abuse.py").write_text(ABUSES)
    return f"{tmp_path}/abuse.py::grade"


def rollout(text=""):
    return Rollout((), text, 0, "stop")


async def outcome(grader, do):
    """The reward, or the failure, and the seconds it took."""
    began = time.monotonic()
    try:
        result = (await grader(rollout(), {"do": do})).reward
    except GradingError as e:
        result = e
    return result, time.monotonic() - began


async def abused(evaluator, do, timeout_s=TIMEOUT_S, memory_mb=256):
    """What an abuse gives in a worker that has served before, and what the honest call after it gives."""
    async with build_grader(evaluator, timeout_s=timeout_s, memory_mb=memory_mb, workers=1) as grader:
        assert (await outcome(grader, "honest"))[0] == 0.25
        bad, took = await outcome(grader, do)
        after, recovery = await outcome(grader, "honest")
        assert after == 0.25
        return bad, took, recovery, grader.stats()


@pytest.mark.parametrize(("do", "label"), DEADLY.items())
def test_an_abuse_is_a_labelled_failure_and_the_slot_is_soon_free(evaluator, do, label):
    bad, took, recovery, stats = asyncio.run(abused(evaluator, do))
    assert isinstance(bad, GradingError), bad
    assert bad.label == label, bad
    assert stats.failures == {label: 1}
    assert stats.restarts >= 1
    assert recovery < SOON_S
    if label == "timeout":
        assert TIMEOUT_S <= took < SOON_S


def test_failures_that_a_worker_survives_have_labels_and_touch_no_other_call(evaluator):
    async def one_after_another():
        async with build_grader(evaluator, timeout_s=10, memory_mb=256, workers=1) as grader:
            found = {}
            for do in SURVIVED:
                bad = (await outcome(grader, do))[0]
                found[do] = bad.label if isinstance(bad, GradingError) else bad
                assert (await outcome(grader, "honest"))[0] == 0.25, do
            return found, grader.stats()

    found, stats = asyncio.run(one_after_another())
    assert found == SURVIVED
    assert stats.restarts == 0


@pytest.mark.parametrize("do", HARMLESS)
def test_an_attempt_to_disturb_the_protocol_changes_no_score(evaluator, do, monkeypatch):
    monkeypatch.setenv("TUNESMITH_TEST_SECRET", "1")
    bad, _, _, stats = asyncio.run(abused(evaluator, do, timeout_s=10))
    assert bad == 0.5
    assert stats.failures == {}


@pytest.mark.slow
def test_ten_gigabytes_of_output_change_no_score(evaluator):
    assert asyncio.run(abused(evaluator, "ten_gigabytes_unseen", timeout_s=120))[0] == 0.5


def test_unbounded_recursion_fails_with_a_label(evaluator):
    bad = asyncio.run(abused(evaluator, "deep_recursion"))[0]
    assert isinstance(bad, GradingError)
    assert bad.label in ("crash", "memory", "timeout")


def test_a_grader_cannot_kill_its_parent(evaluator, level):
    """The first process of its namespace, which no signal from inside reaches; without one, it goes down with it."""
    bad, _, _, stats = asyncio.run(abused(evaluator, "kills_parent"))
    if level == "landlock":  # its parent is outside, and signals do not lead there
        assert (bad.label, stats.restarts) == ("error", 0) and "not permitted" in bad.detail
    elif level != "limits":
        assert (bad, stats.restarts) == (1.0, 0)


@as_root
def test_threads_count_as_processes(evaluator):
    bad = asyncio.run(abused(evaluator, "thread_bomb"))[0]
    assert isinstance(bad, GradingError)
    assert bad.label == "processes"


def test_a_traceback_shows_the_graders_own_frames_alone(evaluator):
    detail = asyncio.run(abused(evaluator, "raises"))[0].detail
    assert 'raise ValueError("no such answer")' in detail
    assert "abuse.py" in detail and "worker.py" not in detail


def test_a_time_out_shows_what_was_printed(tmp_path):
    file = tmp_path / "chatty.py"
    file.write_text("import time\ndef grade(c, r):\n    print('looking at row 7', flush=True)\n    time.sleep(60)\n")
    bad = asyncio.run(_one(f"{file}::grade"))
    assert "looking at row 7" in bad.detail


def test_nothing_is_left_when_the_pool_closes(evaluator, tmp_path):
    left = asyncio.run(_folder_of_a_closed_pool(tmp_path))
    assert not os.path.exists(left)


async def _one(evaluator):
    async with build_grader(evaluator, timeout_s=TIMEOUT_S, memory_mb=256, workers=1) as grader:
        with pytest.raises(GradingError) as failure:
            await grader(rollout(), {})
        return failure.value


async def _folder_of_a_closed_pool(tmp_path):
    file = tmp_path / "where.py"
    file.write_text("import os\ndef grade(c, r):\n    return {'reward': 0, 'reason': os.getcwd()}\n")
    async with build_grader(f"{file}::grade", timeout_s=5, memory_mb=256, workers=1) as grader:
        folder = (await grader(rollout(), {})).reason
        assert os.path.exists(folder)
    return folder
