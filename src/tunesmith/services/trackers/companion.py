"""Starts the reporting of a run beside it, and gives it a bounded time to finish."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.trackers import KEYS, PACKAGES

FLUSH_S = 30.0
"""How long a run that has ended waits for all its trackers together."""
LONGEST_REASON = 300
"""Characters of a tracker's own last words that are repeated."""


def check_installed(names: Sequence[str]) -> None:
    """
    Raises:
        UserError: a tracker whose library is not installed.
    """
    for name in names:
        if not _importable(PACKAGES[name]):
            raise UserError("report_to", f"{name} is not installed", f"pip install 'tunesmith[{name}]'")


def check_ready(names: Sequence[str], secrets: Mapping[str, str]) -> None:
    """
    Raises:
        UserError: a tracker whose library is not installed, or whose key is neither a secret nor in our environment.
    """
    check_installed(names)
    for key in (KEYS[name] for name in names if name in KEYS):
        if key not in secrets and not os.environ.get(key):
            raise UserError("report_to", f"there is no secret {key}", f"Keep it first: tunesmith secrets set {key}")


@contextmanager
def reported(
    run: RunFolder, names: Sequence[str], warn: Callable[[str], None] = lambda text: None, flush_s: float = FLUSH_S
) -> Iterator[None]:
    """Report a run, whose folder is there, while the block runs.

    Args:
        warn: told of a tracker that failed, as the run's log is.
    """
    children = {name: _start(name, run) for name in names}
    try:
        yield
    finally:
        deadline = time.monotonic() + flush_s
        for child in children.values():
            assert child.stdin is not None, "it is a pipe"
            with suppress(BrokenPipeError):
                child.stdin.close()
        for name, child in children.items():
            if (problem := _ended(child, deadline)) is not None:
                reason = f"{problem}{_last_words(run, name)}"
                said = f"{name} was not told everything: {reason}; see trackers/{name}.log. The run is not affected"
                run.log(said, "warning")
                warn(said)


def told_now(run: RunFolder, names: Sequence[str]) -> None:
    """Tell trackers what they have not been told of a run, here and now.

    Raises:
        JobStopped: one of them could not be told.
    """
    for name in names:
        child = _start(name, run)
        child.communicate()
        if child.returncode:
            problem = f"was not told everything: it ended with code {child.returncode}{_last_words(run, name)}"
            raise JobStopped(name, problem, f"See {_log_of(run, name)}, then tell it again")


def _start(name: str, run: RunFolder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tunesmith.services.trackers.follow", name, str(run.path)]
    _log_of(run, name).parent.mkdir(exist_ok=True)
    with _log_of(run, name).open("ab") as said:
        # A session of its own: Ctrl-C is for the run, which then lets its trackers finish.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )


def _log_of(run: RunFolder, name: str) -> Path:
    return run.path / "trackers" / f"{name}.log"


def _last_words(run: RunFolder, name: str) -> str:
    """The last line that a tracker wrote, in brackets; of an exception that is what went wrong."""
    lines = _log_of(run, name).read_text("utf-8", errors="replace").split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({words[:LONGEST_REASON]})" if words else ""


def _ended(child: subprocess.Popen[bytes], deadline: float) -> str | None:
    """Wait for a child; what went wrong, if anything did."""
    try:
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return "it did not finish in time"
    return None if code == 0 else f"it ended with code {code}"


def _importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
