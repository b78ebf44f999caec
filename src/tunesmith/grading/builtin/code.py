"""Runs the code of a completion against the row's tests, in a process of its own inside the worker's limits."""

import json
import os
import resource
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import code_block
from tunesmith.grading.sandbox.plan import Limits

_HARNESS = Path(__file__).with_name("harness.py")


@dataclass(frozen=True, slots=True)
class _Program:
    """What to run: ``setup`` first, then each test by itself in a copy of the names it made."""

    setup: str
    tests: list[str]


def unit_tests(completion: str, row: Row, *, partial: bool = False, budget_s: float = 6.0) -> Score:
    """1 when the completion's code block (or the completion itself) passes all tests; `partial=true`: the share passed.

    Row: MBPP's `test_list` (with `test_setup_code` or `test_imports`), HumanEval's `prompt`, `test` and `entry_point`,
    or `tests`, a script or a list of them. Code that hangs, exits or crashes fails its tests.
    """
    code = code_block(completion, "python", "py", "python3")
    program = _program(completion if code is None else code, row)
    passed, problem = _run(program, budget_s)
    share = passed / len(program.tests)
    reward = share if partial else float(passed == len(program.tests))
    return Score(reward, {"passed": share}, problem)


def _program(code: str, row: Row) -> _Program:
    if isinstance(row.get("entry_point"), str) and isinstance(row.get("test"), str):
        test = f"{row['test']}\n\ncheck({row['entry_point']})\n"
        return _Program(f"{row.get('prompt') or ''}{code}\n", [test])
    tests = row.get("test_list") or row.get("tests")
    tests = [tests] if isinstance(tests, str) else tests
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        fields = ", ".join(row) or "no fields"
        raise GradingError("bad_row", f"needs test_list, tests, or test with entry_point; the row has {fields}")
    imports = row.get("test_imports") or []
    before = "\n".join([*imports, row.get("test_setup_code") or ""])
    return _Program(f"{before}\n{code}\n", tests)


def _run(program: _Program, budget_s: float) -> tuple[int, str]:
    """(tests passed, the first problem). The report carries a secret, so that code which prints cannot forge one."""
    secret = secrets.token_hex(8)
    task = json.dumps(
        {"secret": secret, "setup": program.setup, "tests": program.tests, "processes": _processes_allowed()}
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-s", str(_HARNESS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )
    try:
        output = process.communicate(task, timeout=budget_s)[0]
    except subprocess.TimeoutExpired:
        return 0, f"did not finish in {budget_s:g} s"
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return _report(output, secret, len(program.tests))


def _processes_allowed() -> int | None:
    """Fewer than the grader itself may have, so that a fork bomb fails its own tests; needs a user of our own."""
    most = Limits().processes
    return most // 4 if resource.getrlimit(resource.RLIMIT_NPROC)[0] == most else None


def _report(output: str, secret: str, num_tests: int) -> tuple[int, str]:
    report = next((line for line in output.splitlines() if line.startswith(secret)), None)
    if report is None:
        return 0, "the code ended the process before its tests were done"
    problems = json.loads(report.removeprefix(secret))
    first = next((problem for problem in problems if problem), "")
    return num_tests - sum(map(bool, problems)), first
