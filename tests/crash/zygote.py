"""A process that has imported torch and run one job of each kind, and forks for every attempt: a kill costs no import.

``Zygote`` is the test's end of it. Run as a script, this file is the process itself: one JSON request per line on
stdin, one JSON reply per line on stdout.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended."""

    status: int
    """0 done, 1 raised, -9 killed."""
    seconds: float
    said: str
    """What it printed: the end of a traceback when it raised."""

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Zygote:
    """Runs jobs in children of a warm process, one at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has model/ and data/ of ``tiny_jobs``."""
        env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, __file__, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def start(self, settings: Settings, *, kill_after_s: float | None = None, fail_at: int = 0) -> Ended:
        """A new job; SIGKILL after so many seconds of wall time, or at its n-th durable operation."""
        return self._ask(task="start", settings=settings, kill_after_s=kill_after_s, fail_at=fail_at)

    def resume(self, run: Path, *, kill_after_s: float | None = None, fail_at: int = 0) -> Ended:
        return self._ask(task="resume", run=str(run), kill_after_s=kill_after_s, fail_at=fail_at)

    def on_small_disk(self, settings: Settings, size_kb: int, keep: Path) -> Ended:
        """A job on a disk of that size; see ``small_disk``."""
        return self._ask(task="small_disk", settings=settings, size_kb=size_kb, keep=str(keep))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def _ask(self, **request: Any) -> Ended:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def _start(request: Settings) -> None:
    from tunesmith.services import worker
    from tunesmith.spec import build_spec

    worker.start(build_spec(request["settings"]))


def _resume(request: Settings) -> None:
    from tunesmith.services import worker
    from tunesmith.services.run_folder import RunFolder

    worker.resume(RunFolder.open(request["run"]))


def _small_disk(request: Settings) -> None:
    import small_disk

    small_disk.run_and_make_room(request["settings"], request["size_kb"], Path(request["keep"]))


TASKS: dict[str, Callable[[Settings], None]] = {"start": _start, "resume": _resume, "small_disk": _small_disk}


def serve(folder: Path) -> None:
    """Warm up, then answer requests until stdin ends."""
    import tiny_jobs
    import torch

    from tunesmith.services import worker
    from tunesmith.spec import build_spec

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for kind in tiny_jobs.SHAPES:
            settings = tiny_jobs.settings(kind, folder, output_dir=f"{scratch}/{kind}")
            worker.start(build_spec(settings))
    gc.freeze()  # else the first collection of every child would copy all of our memory
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as said:
            began = time.perf_counter()
            status = _wait(_fork(request, said.fileno()), request.get("kill_after_s"))
            seconds = time.perf_counter() - began
            said.seek(0)
            print(json.dumps({"status": status, "seconds": seconds, "said": said.read()[-4000:]}), flush=True)


def _fork(request: Settings, said: int) -> int:
    """Start a child that does what is asked and ends; its output goes to a descriptor. Returns its process id."""
    child = os.fork()
    if child:
        return child
    os.dup2(said, 1)
    os.dup2(said, 2)
    status = 1
    try:
        from tunesmith.core import durable

        durable._passed[0] = 0
        os.environ["TUNESMITH_FAIL_AT"] = str(request.get("fail_at", 0))
        TASKS[request["task"]](request)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, kill_after_s: float | None) -> int:
    """The child's exit status, negative for the signal that ended it."""
    deadline = None if kill_after_s is None else time.perf_counter() + kill_after_s
    while deadline is not None:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        left = deadline - time.perf_counter()
        if left <= 0:
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(min(left, 0.002))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
