"""A server that starts without imports: a process has them already, and forks for every start.

``WarmServer`` is the test's end. Run as a module, this file is that process: one JSON request per line on stdin, the
process id of what it started per line on stdout.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from server.running import RunningServer


class Forked:
    """As much of a ``Popen`` as ``RunningServer`` uses, of a process that is another's child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("serve", timeout)
            time.sleep(0.005)
        return 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class WarmServer(RunningServer):
    """``tunesmith serve`` that starts in a fraction of a second."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        super().__init__(data_dir, *flags)
        self._warm = subprocess.Popen(
            [sys.executable, "-m", "endurance.warm"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _spawn(self, words: list[str], environment: dict[str, str]) -> Any:
        assert self._warm.stdin and self._warm.stdout, "both are pipes"
        request = {"words": words, "environment": environment, "log": str(self._log)}
        self._warm.stdin.write(json.dumps(request) + "\n")
        self._warm.stdin.flush()
        return Forked(int(self._warm.stdout.readline()))

    def close(self) -> None:
        self.kill()
        self._warm.communicate(timeout=10)


def _serve_in_child(words: list[str], environment: dict[str, str], log: str) -> int:
    """Fork a process in a session of its own that is the command; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
            os.dup2(source, number)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["tunesmith", *words]
        from tunesmith.cli.main import main

        main()
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _main() -> None:
    from tunesmith.grading import sandbox
    from tunesmith.server import process  # noqa: F401  # so that no child has to

    sandbox.level()
    # Whoever ends is gone at once: it is looked for by its id.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        print(_serve_in_child(**json.loads(line)), flush=True)


if __name__ == "__main__":
    _main()
