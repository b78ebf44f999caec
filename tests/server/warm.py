"""Servers that start without imports: a process has them already, and forks for every start.

``WarmServer`` is the test's end. Run as a module, this file is that process: one JSON request per line on stdin, the
process id of what it started per line on stdout; how each ended is in a file of that name.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from server.running import RunningServer


class Forked:
    """As much of a ``Popen`` as tests use, of a process that is another's child."""

    def __init__(self, pid: int, ended: Path) -> None:
        self.pid, self._ended = pid, ended
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and self._ended.exists():
            self.returncode = int(self._ended.read_text())
            self._ended.unlink()  # another may get the same number
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("serve", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class WarmServer(RunningServer):
    """``tunesmith serve`` that starts in a fraction of a second."""

    def _spawn(self, words: list[str], environment: dict[str, str]) -> Any:
        return _warm().serve(words=words, environment=environment, log=str(self._log))


@cache
def _warm() -> "_Warm":
    """The one of this test process; it ends with it."""
    made = _Warm(Path(tempfile.mkdtemp(prefix="warm-")))
    atexit.register(made.close)
    return made


class _Warm:
    def __init__(self, ended: Path) -> None:
        self._ended = ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "server.warm", str(ended)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def serve(self, **request: Any) -> Forked:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        return Forked(pid, self._ended / str(pid))

    def close(self) -> None:
        self._process.communicate(timeout=10)
        for file in self._ended.iterdir():
            file.unlink()
        self._ended.rmdir()


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
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _tell_ends(ended: Path) -> None:
    """Leave a file for every child that has ended, whole from the moment it is there."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        half = ended / f"{pid}.half"
        half.write_text(str(os.waitstatus_to_exitcode(status)))
        half.rename(ended / str(pid))


def _main(ended: Path) -> None:
    """What a start does the first time in a process is done here, once for all of them."""
    from tunesmith.grading import sandbox
    from tunesmith.server.process import create_app
    from tunesmith.server.settings import ServerSettings

    sandbox.level()
    with tempfile.TemporaryDirectory() as folder:
        create_app(ServerSettings(Path(folder))).state.store.close()
    signal.signal(signal.SIGCHLD, lambda *_: _tell_ends(ended))
    for line in sys.stdin:
        print(_serve_in_child(**json.loads(line)), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
