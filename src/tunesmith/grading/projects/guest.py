"""The program that runs a project's entry point, started with the project's own Python: JSON lines in, JSON lines out.

It stands alone: nothing of ours is imported, because the project may need other versions of what we need. User code
runs in this process, so it keeps private copies of its descriptors, and every answer carries its request's random id.
"""

import asyncio
import fcntl
import importlib.util
import inspect
import json
import math
import os
import random
import sys
import traceback
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

MOST_TEXT = 10_000
MOST_PARTS = 256
_FIRST_PRIVATE_DESCRIPTOR = 64
_MOST_LINE_BYTES = 64 << 20
OURS = ("model", "temperature", "max_tokens", "top_p", "top_k", "n", "stream", "api_key", "api_base", "base_url")
"""Parameters of a completion that the job decides, whatever the project asks for."""
PAST = ("rollout_status", "execution_metadata", "evaluation_result", "eval_metadata", "pid", "created_at")
"""Fields of a row that tell of an earlier attempt at it."""
_HOSTED = ("GithubActionRolloutProcessor", "KlavisSandboxRolloutProcessor")
"""Rollout processors that hand the work to a service on the internet."""
_GYM = "MCPGymRolloutProcessor"
_DEADLINE_EXCEEDED, _FINISHED = 4, 100
"""Of eval-protocol's status codes; those below 100, but for 0, are the errors of gRPC."""
Reply = dict[str, Any]


class Failed(Exception):
    """An attempt without a score: a label, and a detail for the author."""

    def __init__(self, label: str, detail: str) -> None:
        super().__init__(f"{label}: {detail}")
        self.label, self.detail = label, detail[-MOST_TEXT:]


def main() -> None:
    """Load the entry point that the first line names, say what it is, then serve until the input ends."""
    requests = os.fdopen(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR), "rb")
    replies = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_DESCRIPTOR)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    setup = json.loads(requests.readline())

    def answer(reply: Reply) -> None:
        line = memoryview((json.dumps(reply) + "\n").encode())
        while line:
            line = line[os.write(replies, line) :]

    try:
        entry = load(Path(setup["root"]), setup["file"], setup["function"])
    except BaseException as e:
        answer({"failed": str(e) if isinstance(e, NotUsable) else _trace(e, setup["root"])})
        return
    answer({"ready": True, "traits": entry.traits})
    if setup["serve"]:
        asyncio.run(_serve(entry, requests, answer, setup["scoring_s"]))


class NotUsable(Exception):
    """The project is there, but not what a job can use; the message says why."""


class Entry:
    """A loaded entry point."""

    def __init__(self, function: Any, root: Path) -> None:
        self.root = str(root)
        self.params: Any = getattr(function, "__ep_params__", None)
        self.score: Callable[..., Any] = getattr(function, "_origin_func", function)
        if self.params is None:
            _check_grader(function)
            self.traits: dict[str, Any] = {"kind": "grader"}
            return
        mode = str(self.params.mode)
        if mode not in ("pointwise", "groupwise"):
            raise NotUsable(f"mode {mode!r} scores a whole dataset at once; a job needs pointwise or groupwise")
        self.processor = self.params.rollout_processor
        name = type(self.processor).__name__ if self.processor is not None else "SingleTurnRolloutProcessor"
        if name in _HOSTED:
            raise NotUsable(f"{name} needs the network, which a project has not: use RemoteRolloutProcessor instead")
        own_class = name in ("SingleTurnRolloutProcessor", "NoOpRolloutProcessor")
        keeps = getattr(self.processor, "drop_trailing_assistant_messages", True) is False
        self.traits = {
            "kind": "test",
            "mode": mode,
            "processor": name,
            "single_turn": own_class and not keeps and self.params.preprocess_fn is None,
            "max_concurrent_rollouts": int(self.params.max_concurrent_rollouts),
            "remote": self._remote(),
        }
        self.gym = self._gym()

    def _gym(self) -> Any:
        """The server of its environments; None without one."""
        if not self._is_a(_GYM):
            return None
        script = self.params.server_script_path
        if not script or not Path(script).is_file():
            raise NotUsable(f"{_GYM} needs server_script_path, a file of the project (it is {script!r})")
        gym = _import(Path(__file__).with_name("gym.py"), "tunesmith_gym")
        return gym.Gym(script, self.params.rollout_processor_kwargs or {})

    def _is_a(self, name: str) -> bool:
        return any(kind.__name__ == name for kind in type(self.processor).__mro__)

    def _remote(self) -> str:
        """Where the server is that makes the rollouts; empty without one."""
        if not self._is_a("RemoteRolloutProcessor"):
            return ""
        address = self.processor._remote_base_url or (self.params.rollout_processor_kwargs or {}).get("remote_base_url")
        if not address:
            raise NotUsable("RemoteRolloutProcessor has no remote_base_url: name the server that makes the rollouts")
        return str(address)

    @property
    def blocks(self) -> bool:
        """Nothing else runs while it scores."""
        return not inspect.iscoroutinefunction(self.score)


def load(root: Path, file: str, name: str) -> Entry:
    """Import a file of the project and find the function in it."""
    path = root / file
    if not path.is_file():
        raise NotUsable(f"the project has no file {file}")
    os.chdir(root)
    for folder in (str(path.parent), str(root)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    module = _import(path, path.stem)
    function = getattr(module, name, None)
    if not callable(function):
        own = [k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise NotUsable(f"{file} has no function {name!r}; it defines {', '.join(own) or 'none'}")
    return Entry(function, root)


def _import(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check_grader(function: Any) -> None:
    try:
        inspect.signature(function).bind("", {})
    except TypeError:
        shown = f"{getattr(function, '__name__', 'it')}{inspect.signature(function)}"
        raise NotUsable(f"{shown} is neither an @evaluation_test nor takes (completion, row)") from None


async def _serve(entry: Entry, requests: Any, answer: Callable[[Reply], None], scoring_s: float) -> None:
    """Every request is a task, so that rollouts wait for the model side by side."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MOST_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), requests)
    if entry.params is not None and entry.processor is not None:
        entry.processor.setup()
    tasks: dict[str, asyncio.Task[None]] = {}

    async def one(request: dict[str, Any]) -> None:
        try:
            results = await _attempts(entry, request, answer, scoring_s)
        except asyncio.CancelledError:
            results = [_failure(Failed("timeout", "took too long"))] * len(request["attempts"])
        del tasks[request["id"]]
        answer({"id": request["id"], "results": results})

    while line := await reader.readline():
        request = json.loads(line)
        if "cancel" in request:
            if (task := tasks.get(request["cancel"])) is not None:
                task.cancel()
            continue
        tasks[request["id"]] = loop.create_task(one(request))


async def _attempts(
    entry: Entry, request: dict[str, Any], answer: Callable[[Reply], None], scoring_s: float
) -> list[Reply]:
    """Roll out every attempt of a request, then score: one by one, or those that came through in one call."""
    if entry.params is None:
        return [await _graded(entry, attempt, request["id"], answer, scoring_s) for attempt in request["attempts"]]
    rolled = await asyncio.gather(*(_rolled(entry, a) for a in request["attempts"]), return_exceptions=True)
    results: list[Reply] = [{} if not isinstance(r, BaseException) else _failed_rollout(r, entry) for r in rolled]
    rows = [(i, r) for i, r in enumerate(rolled) if not isinstance(r, BaseException)]
    groups = [rows] if entry.traits["mode"] == "groupwise" else [[one] for one in rows]
    for group in filter(None, groups):
        seed = "\n".join(str(m.content) for _, row in group for m in row.messages)
        try:
            scored = await _call(entry, [row for _, row in group], seed, request["id"], answer, scoring_s)
            for (i, _), row in zip(group, scored, strict=True):
                results[i] = _verdict(row)
        except Failed as e:
            results = [results[i] or _failure(e) for i in range(len(results))]
    return results


async def _graded(
    entry: Entry, attempt: dict[str, Any], name: str, answer: Callable[[Reply], None], scoring_s: float
) -> Reply:
    """A plain grader's own value, for the other side to judge."""
    completion = attempt["reply"].get("content") or ""

    async def run() -> Any:
        value = entry.score(completion, attempt["row"])
        return await value if inspect.isawaitable(value) else value

    try:
        value = await _timed(entry, run(), completion, name, answer, scoring_s)
        return {"value": value if isinstance(value, int | float | bool | dict | str | None) else repr(value)[:80]}
    except Failed as e:
        return _failure(e)


async def _rolled(entry: Entry, attempt: dict[str, Any]) -> Any:
    """The row with the conversation that it led to: given with the attempt, or made by the project's processor."""
    models = importlib.import_module("eval_protocol.models")
    row = models.EvaluationRow.model_validate(_cleaned(attempt["row"]))
    metadata = row.execution_metadata
    metadata.rollout_id, metadata.run_id = attempt["id"], "training"
    metadata.invocation_id, metadata.experiment_id = "tunesmith", "training"
    row.input_metadata.row_id = row.input_metadata.row_id or attempt["prompt_id"]
    params = _completion_params(entry, attempt)
    row.input_metadata.completion_params = params
    if entry.traits["single_turn"]:
        row.messages = [*row.messages, models.Message.model_validate(attempt["reply"])]
        metadata.finish_reason = attempt["finish_reason"]
        row.rollout_status = models.Status.rollout_finished()
        return row
    if entry.params.preprocess_fn is not None:
        prepared = entry.params.preprocess_fn([row])
        if len(prepared) != 1:
            raise ValueError(f"preprocess_fn made {len(prepared)} rows of one; a rollout needs exactly one")
        row = prepared[0]
    rolled = await _process(entry, row, params, attempt)
    code = int(rolled.rollout_status.code)
    if 0 < code < _FINISHED:
        label = "timeout" if code == _DEADLINE_EXCEEDED else "rollout"
        raise Failed(label, str(rolled.rollout_status.message) or f"it ended with the status {code}")
    rolled.rollout_status = models.Status.rollout_finished()
    return rolled


async def _process(entry: Entry, row: Any, params: dict[str, Any], attempt: dict[str, Any]) -> Any:
    types = importlib.import_module("eval_protocol.pytest.types")
    given = entry.params
    config = types.RolloutProcessorConfig(
        completion_params=params,
        mcp_config_path=given.mcp_config_path or "",
        semaphore=asyncio.Semaphore(1),
        server_script_path=given.server_script_path,
        steps=given.steps,
        kwargs=await entry.gym.ready() if entry.gym is not None else given.rollout_processor_kwargs or {},
        exception_handler_config=given.exception_handler_config,
        **({"logger": given.logger} if given.logger is not None else {}),
    )
    processor = entry.processor
    if processor is None:
        module = importlib.import_module("eval_protocol.pytest.default_single_turn_rollout_process")
        processor = module.SingleTurnRolloutProcessor()
    elif entry.traits["remote"]:
        processor._remote_base_url = attempt["remote"]  # which leads there, and only there
    elif entry.gym is not None:
        processor.server = entry.gym  # else it refuses to begin
    tasks = processor([row], config)
    if len(tasks) != 1:
        raise ValueError(f"the rollout processor made {len(tasks)} tasks of one row")
    return await tasks[0]


def _completion_params(entry: Entry, attempt: dict[str, Any]) -> dict[str, Any]:
    """The project's own settings of a completion, under those of the job."""
    given = entry.params.completion_params
    first = (given[0] if given else None) if isinstance(given, list | tuple) else given
    own = {k: v for k, v in (first or {}).items() if k not in OURS}
    return {**own, **attempt["completion_params"]}


def _cleaned(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it was before anyone answered it."""
    kept = {k: v for k, v in row.items() if k not in PAST}
    if "messages" not in kept:
        prompt = kept.pop("prompt", "")
        kept["messages"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    messages = list(kept["messages"])
    while len(messages) > 1 and messages[-1].get("role") == "assistant":
        messages.pop()
    return {**kept, "messages": messages}


async def _call(
    entry: Entry, rows: list[Any], seed: str, name: str, answer: Callable[[Reply], None], scoring_s: float
) -> list[Any]:
    """Call the test function on rows; the rows that it returned, in their order."""
    sets = entry.params.evaluation_test_kwargs
    extra = dict((sets[0] if isinstance(sets, list | tuple) and sets else sets) or {})
    groupwise = entry.traits["mode"] == "groupwise"

    async def run() -> Any:
        value = entry.score(rows if groupwise else rows[0], **extra)
        return await value if inspect.isawaitable(value) else value

    value = await _timed(entry, run(), seed, name, answer, scoring_s)
    if not groupwise:
        value = [value]
    if (
        not isinstance(value, list)
        or len(value) != len(rows)
        or not all(hasattr(r, "evaluation_result") for r in value)
    ):
        raise Failed("bad_value", f"it returned {value!r:.200}; return the EvaluationRow, or all {len(rows)} of them")
    return value


async def _timed(
    entry: Entry,
    work: Coroutine[Any, Any, Any],
    seed: str,
    name: str,
    answer: Callable[[Reply], None],
    scoring_s: float,
) -> Any:
    """Run a scoring; says that it begins, because nobody here can stop one that does not wait."""
    random.seed(zlib.crc32(seed.encode("utf-8", "surrogatepass")))
    if entry.blocks:
        answer({"scoring": name})
    try:
        async with asyncio.timeout(scoring_s):
            return await work
    except TimeoutError:
        raise Failed("timeout", f"no score within {scoring_s:g} s") from None
    except MemoryError:
        raise Failed("memory", "MemoryError: raise grader_memory_mb or use less") from None
    except Exception as e:
        raise Failed("error", _trace(e, entry.root)) from None
    finally:
        if entry.blocks:
            answer({"scored": name})


def _verdict(row: Any) -> Reply:
    """The score of a row, or why it has none."""
    result = row.evaluation_result
    if result is None:
        return _failure(Failed("bad_value", "the row has no evaluation_result: set it to an EvaluateResult"))
    if result.error:
        return _failure(Failed("error", str(result.error)))
    if not result.is_score_valid:
        return _failure(Failed("invalid", str(result.reason or "is_score_valid is false")))
    metrics = dict(list((result.metrics or {}).items())[:MOST_PARTS])
    parts = {k: float(m.score) for k, m in metrics.items() if m.is_score_valid and math.isfinite(m.score)}
    return {"value": {"reward": float(result.score), "parts": parts, "reason": str(result.reason or "")[:MOST_TEXT]}}


def _failed_rollout(e: BaseException, entry: Entry) -> Reply:
    if isinstance(e, asyncio.CancelledError):
        raise e
    return _failure(e if isinstance(e, Failed) else Failed("rollout", _trace(e, entry.root)))


def _failure(e: Failed) -> Reply:
    return {"label": e.label, "detail": e.detail}


def _trace(e: BaseException, root: str) -> str:
    """The last lines of a traceback, from the first frame of the project on."""
    frames = e.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith(root):
        frames = frames.tb_next
    lines = traceback.format_exception(type(e), e, frames or e.__traceback__, limit=-20)
    return "".join(lines).strip()[-MOST_TEXT:]


if __name__ == "__main__":
    main()
