"""The grader of a job: evaluator strings in, a score or a labelled failure per rollout out, whatever a grader does."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError, Judge
from tunesmith.core.types import Rollout, Row, Score
from tunesmith.grading.builtin import GRADERS
from tunesmith.grading.evaluator import BuiltinTarget, Evaluator, RecordedTarget, parse_evaluators
from tunesmith.grading.judging import asked, told
from tunesmith.grading.process import Limits
from tunesmith.grading.slot import Slot
from tunesmith.grading.sums import weighted_sum
from tunesmith.grading.verdict import as_score

if TYPE_CHECKING:
    # A worker process imports this package too, and should not wait for settings.
    from tunesmith.spec.rft import RftSpec

NUM_WORKERS = 2


@dataclass(frozen=True, slots=True)
class GraderStats:
    """How grading went so far. Times are for the timing log, never for results."""

    calls: int
    failures: dict[str, int]
    """Label -> number of calls."""
    restarts: int
    """Worker processes replaced, after a failure or after 10,000 calls."""
    seconds_total: float
    """Time in graders, without waiting for a free worker."""
    seconds_max: float
    """The slowest single grading."""


def build_grader(
    evaluators: str | Sequence[str],
    *,
    timeout_s: float,
    memory_mb: int,
    network: bool = False,
    workers: int = NUM_WORKERS,
    judge: Judge | None = None,
) -> "GraderPool":
    """A grader from evaluator strings: built-ins by name, `file.py::function`, several with `=weight` as a sum.

    Args:
        evaluators: one string or several; docs/graders.md has the syntax.
        timeout_s: wall time of one grading.
        memory_mb: memory of one grader process above Python's own.
        network: whether users' code may reach the network.
        workers: most processes at a time.
        judge: whom graders ask that need a model.

    Raises:
        UserError: a string that cannot be read; NotFound for a file that is not there.
    """
    return GraderPool(parse_evaluators(evaluators), Limits(timeout_s, memory_mb, network), workers, judge)


def grader_of(spec: "RftSpec", judge: Judge | None = None) -> "GraderPool":
    """The grader of a job."""
    limits = Limits(spec.grader_timeout_s, spec.grader_memory_mb, spec.grader_network)
    return GraderPool(parse_evaluators(spec.evaluator), limits, NUM_WORKERS, judge)


class GraderPool:
    """A ``Grader`` that owns up to ``workers`` processes. Use it within one event loop, and close it.

    Example:
        async with build_grader("last_number", timeout_s=10, memory_mb=2048) as grader:
            score = await grader(rollout, row)
    """

    def __init__(
        self, evaluators: Sequence[Evaluator], limits: Limits, workers: int, judge: Judge | None = None
    ) -> None:
        if any(isinstance(e.target, RecordedTarget) for e in evaluators):
            problem = "recorded scores are of attempts that rows hold, and these are new ones"
            raise UserError("evaluator", problem, "Name a grader")
        self._evaluators, self._judge = list(evaluators), judge
        self._in_workers = [e for e in evaluators if not _runs_inline(e)]
        self._slots = [Slot(self._in_workers, limits) for _ in range(max(1, workers))]
        self._idle = list(reversed(self._slots))
        self._free = asyncio.Semaphore(len(self._slots))
        self._failures: Counter[str] = Counter()
        self._calls = 0
        self._seconds_total = self._seconds_max = 0.0

    async def __aenter__(self) -> "GraderPool":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Load the evaluators in a first worker, so that mistakes show before anything is spent.

        Raises:
            UserError: a file cannot be imported (with the end of the traceback), or lacks the function.
        """
        if self._in_workers:
            async with self._slot() as slot:
                await slot.ready()

    async def __call__(self, rollout: Rollout, row: Row) -> Score:
        """The score of a rollout's text.

        Raises:
            GradingError: with a label of ``LABELS``; the detail is for the grader's author.
        """
        self._calls += 1
        try:
            scores = [await self._part(evaluator, rollout, row) for evaluator in self._evaluators]
            return weighted_sum(self._evaluators, scores)
        except GradingError as e:
            self._failures[e.label] += 1
            raise

    async def close(self) -> None:
        """Kill the workers and all they started."""
        await asyncio.gather(*(slot.stop() for slot in self._slots))

    def stats(self) -> GraderStats:
        """Counts and times since the pool was built."""
        restarts = sum(slot.restarts for slot in self._slots)
        return GraderStats(self._calls, dict(self._failures), restarts, self._seconds_total, self._seconds_max)

    async def _part(self, evaluator: Evaluator, rollout: Rollout, row: Row) -> Score:
        """One evaluator's score, before its weight; a failure in a sum says whose it is."""
        try:
            if _runs_inline(evaluator):
                with self._clock():
                    return _grade_inline(evaluator, rollout, row)
            return await self._grade_in_worker(evaluator, rollout, row)
        except GradingError as e:
            if len(self._evaluators) == 1:
                raise
            raise GradingError(e.label, f"{evaluator.name}: {e.detail}") from None

    async def _grade_in_worker(self, evaluator: Evaluator, rollout: Rollout, row: Row) -> Score:
        request_id = secrets.token_hex(8)
        number = self._in_workers.index(evaluator)
        verdicts = await asked(evaluator.target, rollout.text, row, self._judge)
        fields = {"id": request_id, "evaluator": number, "completion": rollout.text, "row": row}
        if verdicts:
            fields["rewards"] = {name: verdict.reward for name, verdict in verdicts.items()}
        try:
            request = json.dumps(fields)
        except (TypeError, ValueError, RecursionError) as e:
            raise GradingError("bad_row", f"the row does not fit in JSON: {e}") from None
        async with self._slot() as slot:
            with self._clock():
                return told(await slot.grade(request_id, request), verdicts)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[Slot]:
        """A free slot for the length of one grading, the last used first, so that a light load keeps one process."""
        async with self._free:
            slot = self._idle.pop()
            try:
                yield slot
            finally:
                self._idle.append(slot)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self._seconds_total += seconds
            self._seconds_max = max(self._seconds_max, seconds)


def _runs_inline(evaluator: Evaluator) -> bool:
    return isinstance(evaluator.target, BuiltinTarget) and GRADERS[evaluator.target.name].where == "inline"


def _grade_inline(evaluator: Evaluator, rollout: Rollout, row: Row) -> Score:
    """A built-in that cannot hang, without a process."""
    assert isinstance(evaluator.target, BuiltinTarget), "only built-ins run inline"
    builtin = GRADERS[evaluator.target.name]
    injected = {}
    if "num_tokens" in builtin.injected:
        injected["num_tokens"] = sum(int(segment.sampled.sum()) for segment in rollout.segments)
    try:
        return as_score(builtin.function(rollout.text, row, **evaluator.target.arguments, **injected))
    except GradingError:
        raise
    except Exception as e:
        raise GradingError("error", f"{evaluator.target.name}: {type(e).__name__}: {e}") from e
