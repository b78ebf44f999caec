"""The process that runs graders: reads one JSON request per line, answers one JSON line each, knows nothing else.

User code runs in this process, so everything the loop needs is bound before that code is loaded: it keeps private
copies of its two descriptors, answers carry the request's random id, and a forked copy of it never answers.
"""

import fcntl
import importlib
import inspect
import io
import linecache
import os
import random
import resource
import shutil
import sys
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from json import JSONDecoder
from json.encoder import encode_basestring_ascii
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from tunesmith.core.ports import GradingError
from tunesmith.grading import composed
from tunesmith.grading.builtin import GRADERS
from tunesmith.grading.verdict import LABELS, MAX_TEXT, as_score

Reply = dict[str, Any]
_FIRST_PRIVATE_DESCRIPTOR = 64


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A grader ready to be called."""

    function: Callable[..., Any]
    path: str
    """The user's file, whose frames a traceback shows; empty for a built-in."""


def main() -> None:
    """Take the descriptors, set up as the first line says, then answer until the pool closes the pipe."""
    decoder: Any = JSONDecoder()
    scan, write, getpid, leave = decoder.scan_once, os.write, os.getpid, os._exit
    requests = os.fdopen(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR), "rb")
    replies = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR)
    surroundings = _Surroundings()
    own = getpid()

    def answer(reply: Reply) -> None:
        if getpid() != own:
            leave(0)
        line = memoryview((_encoded(reply) + "\n").encode())
        while line:
            line = line[write(replies, line) :]

    setup = scan(requests.readline().decode(), 0)[0]
    graders, reply = _set_up(setup)
    answer(reply)
    for request_line in requests if graders else ():
        surroundings.reset()
        request = scan(request_line.decode(), 0)[0]
        random.seed(zlib.crc32(request["completion"].encode("utf-8", "surrogatepass")))
        reply = _grade(graders[request["evaluator"]], request)
        surroundings.flush()
        answer({"id": request["id"], "children": _has_children(), **reply})


class _Surroundings:
    """What a call finds: an empty working folder, output into the capped log, and no input."""

    def __init__(self) -> None:
        self._log = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR)
        self._null = fcntl.fcntl(os.open(os.devnull, os.O_RDWR), fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR)
        self._folder = os.getcwd()
        self._own: list[io.TextIOWrapper] = []
        self.reset()

    def reset(self) -> None:
        os.dup2(self._null, 0)
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        if os.fstat(self._log).st_size:
            os.ftruncate(self._log, 0)
        if not self._own or [sys.stdout, sys.stderr] != self._own or any(stream.closed for stream in self._own):
            self._own = [os.fdopen(d, "w", errors="replace", closefd=False) for d in (1, 2)]
            sys.stdout, sys.stderr = self._own
        os.chdir(self._folder)
        for entry in list(os.scandir(self._folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)

    def flush(self) -> None:
        """Write out what was printed; output beyond the cap is dropped with its buffer."""
        try:
            for stream in self._own:
                stream.flush()
        except (OSError, ValueError):
            self._own = []


def _set_up(setup: dict[str, Any]) -> tuple[list[_Loaded], Reply]:
    """Bound this process and load every evaluator; returns the graders, or none and what went wrong."""
    targets = setup["targets"]
    for target in targets:
        for module in GRADERS[target["name"]].imports if "name" in target else ():
            importlib.import_module(module)
    _limit_memory(setup["memory_mb"])
    modules: dict[str, ModuleType] = {}
    graders = []
    for target in targets:
        try:
            graders.append(_load(target, modules))
        except BaseException as e:
            detail = (
                f"{e}"
                if isinstance(e, _NotDefined)
                else _trace(e, target.get("path", composed.SOURCE if "composed" in target else ""))
            )
            return [], {"failed": target["where"], "missing": isinstance(e, _NotDefined), "detail": detail}
    return graders, {"ready": True}


def _limit_memory(memory_mb: int) -> None:
    """Bound the address space of this process and its children above what it holds now."""
    statm = Path("/proc/self/statm")
    held = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    most, hard = held + (memory_mb << 20), resource.getrlimit(resource.RLIMIT_AS)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _NotDefined(Exception):
    """The file has no such function; the message names what it has."""


def _load(target: dict[str, Any], modules: dict[str, ModuleType]) -> _Loaded:
    """The function of one evaluator, with its arguments bound; a file is run once, under its real name."""
    if "name" in target:
        return _Loaded(partial(GRADERS[target["name"]].function, **target["arguments"]), "")
    if "composed" in target:
        return _Loaded(composed.build(target["composed"]), composed.SOURCE)
    path, name = target["path"], target["function"]
    if path not in modules:
        modules[path] = _run_file(path, target["source"], f"tunesmith_grader_{len(modules)}")
    module = modules[path]
    function = getattr(module, name, None)
    if not callable(function):
        own = [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        raise _NotDefined(f"no function {name!r}; it defines {', '.join(own) or 'no functions'}")
    try:
        inspect.signature(function).bind("", {})
    except TypeError:
        raise _NotDefined(f"{name}{inspect.signature(function)} cannot take (completion, row)") from None
    return _Loaded(function, path)


def _run_file(path: str, source: str, name: str) -> ModuleType:
    """Import a file whose source came through the pipe: this process may not be allowed to read it."""
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    folder = str(Path(path).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    exec(compile(source, path, "exec"), vars(module))
    return module


def _grade(grader: _Loaded, request: dict[str, Any]) -> Reply:
    """Run one grading; whatever it raises becomes a label and a detail."""
    try:
        rewards = (request["rewards"],) if "rewards" in request else ()
        value = grader.function(request["completion"], request["row"], *rewards)
        if inspect.isawaitable(value):
            value = _wait_for(value)
        score = as_score(value)
        return {"reward": score.reward, "parts": score.parts, "reason": score.reason}
    except GradingError as e:
        return {"label": e.label if e.label in LABELS else "error", "detail": e.detail}
    except MemoryError:
        return {"label": "memory", "detail": "MemoryError: raise grader_memory_mb or use less"}
    except BaseException as e:
        full = isinstance(e, BlockingIOError) or (isinstance(e, RuntimeError) and "start new thread" in str(e))
        return {"label": "processes" if full else "error", "detail": _trace(e, grader.path)}


def _wait_for(value: Any) -> Any:
    """Run an async grader's coroutine on this process's one event loop, so that clients it keeps stay usable."""

    async def wait() -> Any:
        return await value

    return _runner().run(wait())


@cache
def _runner() -> Any:
    import asyncio

    return asyncio.Runner()


def _trace(e: BaseException, path: str) -> str:
    """The last lines of a traceback, from the first frame of the user's file on."""
    frames: TracebackType | None = e.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != path:
        frames = frames.tb_next
    trace = frames if path else e.__traceback__
    return "".join(traceback.format_exception(type(e), e, trace, limit=-20)).strip()[-MAX_TEXT:]


def _has_children() -> bool:
    """Whether any process that this one started is still there, without collecting its status."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _encoded(value: Any) -> str:
    """JSON by the C encoder of strings alone, which no patch of the json module reaches."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring_ascii(k)}:{_encoded(v)}" for k, v in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return encode_basestring_ascii(value) if isinstance(value, str) else repr(value)
