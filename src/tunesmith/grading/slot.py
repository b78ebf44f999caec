"""One place for a worker process: starts it when needed, and another when that one has failed or served enough."""

from collections.abc import Sequence

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Score
from tunesmith.grading.evaluator import Evaluator
from tunesmith.grading.process import Limits, WorkerProcess

RECYCLE_AFTER = 10_000
_MAYBE_INHERITED = ("crash", "memory", "processes")
"""Failures that an earlier call in the same process may have caused: tried once more in a fresh one."""


class Slot:
    """Serves one grading at a time; the process behind it changes, the results do not."""

    def __init__(self, evaluators: Sequence[Evaluator], limits: Limits) -> None:
        self.restarts = 0
        self._evaluators, self._limits = evaluators, limits
        self._worker: WorkerProcess | None = None

    async def ready(self) -> WorkerProcess:
        """A live worker with the evaluators loaded."""
        worker = self._worker
        if worker is not None and worker.alive and worker.served < RECYCLE_AFTER:
            return worker
        if worker is not None:
            self.restarts += 1
            await self.stop()
        self._worker = await WorkerProcess.start(self._evaluators, self._limits)
        return self._worker

    async def grade(self, request_id: str, request: str) -> Score:
        """One grading; a failure that may be an earlier call's doing is tried again in a fresh process."""
        worker = await self.ready()
        innocent = worker.served > 0
        try:
            return await worker.grade(request_id, request, self._limits.timeout_s)
        except GradingError as e:
            if worker.alive or not innocent or e.label not in _MAYBE_INHERITED:
                raise
        return await self.grade(request_id, request)

    async def stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker.alive:
            await worker.stop()
