"""How strong a sandbox this machine gives: the levels, best first, and which of them really works here."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

from tunesmith.core.errors import UserError, unknown
from tunesmith.grading.processes import kill_all
from tunesmith.grading.sandbox import landlock, seccomp
from tunesmith.grading.sandbox.prepare import Request, prepared

Level = Literal["bubblewrap", "namespaces", "landlock", "limits"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
SETTING = "TUNESMITH_SANDBOX"
"""The environment variable that demands a level; processes that we start inherit it."""
AUTO = "auto"
WARNING = (
    "user code runs with limits alone: it can read every file that its user may read, and reach the network. "
    "Install bubblewrap, or allow user namespaces"
)
_TRIAL_S = 30.0
_LOOK = """
import sys
try:
    print("seen", open(sys.argv[1]).read())
except OSError:
    print("nothing")
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The level in use, and why not a better one."""

    level: Level
    refused: dict[str, str]
    """Better level -> what it said when it was tried."""


def level() -> Level:
    """The level that user code runs at.

    Raises:
        UserError: the level that was demanded does not work here; says why.
    """
    return found().level


def found() -> Found:
    """The level that user code runs at, as found by starting something at each, once per process."""
    return _found(os.environ.get(SETTING, AUTO))


@cache
def _found(demanded: str) -> Found:
    if demanded not in (AUTO, *LEVELS):
        raise unknown("sandbox", demanded, (AUTO, *LEVELS))
    refused: dict[str, str] = {}
    for candidate in LEVELS:
        if demanded not in (AUTO, candidate):
            continue
        problem = trial(candidate)
        if not problem:
            if candidate == "limits":
                logging.getLogger(__name__).warning("%s", WARNING)
            return Found(candidate, refused)
        refused[candidate] = problem
    said = "; ".join(f"{name}: {problem}" for name, problem in refused.items())
    raise UserError("sandbox", f"does not work on this machine: {said}", "Choose another level, or auto")


def trial(candidate: str) -> str:
    """Start something at a level; returns what is wrong with the level here, or nothing."""
    if candidate != "limits" and not seccomp.supported():
        return "needs Linux on x86_64 or aarch64"
    if candidate == "landlock" and (needed := landlock.needed()) > landlock.version():
        return f"needs version {needed} of Landlock, and the kernel has {landlock.version() or 'none'}"
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        # Open to all: what keeps it from being read should be the level.
        os.chmod(file.name, 0o644)
        command = [os.path.realpath(sys.executable), "-I", "-S", "-c", _LOOK, file.name]
        code, said, error = _run(command, candidate)
    if code:
        return error.strip().splitlines()[-1][:300] if error.strip() else f"exit status {code}"
    return "a file outside can be read" if candidate != "limits" and said.strip() != "nothing" else ""


def _run(command: list[str], candidate: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command at a level."""
    with prepared(Request(command), candidate) as start:
        process = subprocess.Popen(
            start.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
            pass_fds=(start.descriptor,),
            text=True,
        )
        try:
            said, error = process.communicate(timeout=_TRIAL_S)
        except subprocess.TimeoutExpired:
            kill_all(process.pid, start.user)
            said, error = process.communicate()
            error = f"did not start within {_TRIAL_S:g} s"
        shutil.rmtree(start.folder, ignore_errors=True)
    return process.returncode, said, error
