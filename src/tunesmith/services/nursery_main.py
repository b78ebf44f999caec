"""The nursery: imports what workers, engines and errands need, then is forked into one whenever the server asks.

``python -m tunesmith.services.nursery_main LINE``, the number of a socket to the server. A request is JSON with
``module``, ``arguments`` and ``environment``, and open files: where to write the exit code, stdin, stdout, stderr, and
those that the process keeps. The answer is the process id, and a pidfd. The nursery ends when the line is closed.

No Python here may start a thread: a fork copies the one that calls it and no other, with the locks that others held.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

NEEDED = (
    "tunesmith.services.jobs.worker_main",
    "tunesmith.services.sessions.engine_main",
    "tunesmith.services.errand_main",
    "tunesmith.services.worker",
    "tunesmith.services.evaluation",
    "tunesmith.services.rehearsal",
    "tunesmith.services.try_grader",
    "tunesmith.services.regrade",
)
MOST_BYTES = 1 << 20
MOST_FILES = 16


def load() -> None:
    """Import it all. What is there now is never garbage: the collector would only touch, and so copy, shared pages."""
    gc.disable()
    for module in NEEDED:
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.enable()


def serve_on(line: socket.socket) -> NoReturn:
    """Fork and become what is asked for, until the line is closed."""
    be = _serve(line)
    if be is None:
        os._exit(0)
    _leave_as(be)


def _serve(line: socket.socket) -> Callable[[], Any] | None:
    """Answer requests. Returns in every child, with what it has to be, and at last in the nursery itself."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    tell: dict[int, int] = {}
    line.send(b"ready")
    while True:
        ready, _, _ = select.select([line.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            _tell_ends(tell)
        if line.fileno() not in ready:
            continue
        request, files, _, _ = socket.recv_fds(line, MOST_BYTES, MOST_FILES)
        if not request:
            return None
        gate, childs_gate = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            line.close()
            gate.close()
            for file in (woken, waking, files[0], *tell.values()):
                os.close(file)
            _pass(childs_gate)
            return _become(json.loads(request), files[1:])
        tell[pid] = files[0]
        for file in files[1:]:
            os.close(file)
        childs_gate.close()
        _answer(line, gate, pid)


def _pass(gate: socket.socket) -> None:
    """In a child: say that it has its session, and wait until the server knows of it. Where the nursery dies before,
    the server starts the program anew, and there must not be two.
    """
    with gate:
        os.setsid()
        gate.send(b"x")
        if not gate.recv(1):
            os._exit(1)


def _answer(line: socket.socket, gate: socket.socket, pid: int) -> None:
    with gate:
        # Who gets the answer may kill it with its group at once, which has to be its own by then.
        gate.recv(1)
        handle = os.pidfd_open(pid)
        socket.send_fds(line, [str(pid).encode()], [handle])
        os.close(handle)
        # It may have been killed.
        with suppress(BrokenPipeError):
            gate.send(b"x")


def _tell_ends(tell: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            file = tell.pop(pid)
            # Nobody may be left to read it.
            with suppress(BrokenPipeError):
                os.write(file, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(file)


def _become(request: dict[str, Any], files: Sequence[int]) -> Callable[[], Any]:
    """Make this process what a program finds when it starts from nothing."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    module = request["module"]
    # What ps shows beside the command, which is the nursery's.
    with suppress(OSError):
        Path("/proc/self/comm").write_text(module.rpartition(".")[2])
    sys.argv = [module, *request["arguments"], *map(str, files[3:])]
    return import_module(module).main  # type: ignore[no-any-return]


def _leave_as(be: Callable[[], Any]) -> NoReturn:
    """Be it, and end as an interpreter does, but without taking a thousand modules apart, for a third of a second."""
    status = 1
    try:
        sys.exit(be())
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    try:
        # As multiprocessing ends its children: threads, what asked for the end, what is printed.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(status)


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    # Those of OpenBLAS and of Arrow's memory, which both follow a fork.
    warnings.filterwarnings("ignore", "(?s).*use of fork", DeprecationWarning)
    load()
    serve_on(line)


if __name__ == "__main__":
    main()
