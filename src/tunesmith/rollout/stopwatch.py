"""How long a step waited for its grader alone: from the last attempt that was sampled to the last that was graded."""

from time import perf_counter

from tunesmith.core.ports import Grader
from tunesmith.core.types import Rollout, Row, Score


class Stopwatch:
    """A grader that remembers when it was last asked and when it last answered; gradings begin once sampled."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self._asked = self._answered = perf_counter()

    async def __call__(self, rollout: Rollout, row: Row) -> Score:
        self._asked = perf_counter()
        try:
            return await self._grader(rollout, row)
        finally:
            self._answered = perf_counter()

    def waited_s(self) -> float:
        return max(0.0, self._answered - self._asked)
