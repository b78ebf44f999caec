"""A user's project as a ``Grader``: it scores replies that were sampled elsewhere or earlier."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Grader, GradingError
from tunesmith.core.types import Rollout, Row, Score
from tunesmith.grading import grader_of
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import PROJECT, Project
from tunesmith.grading.projects.process import Reply, Surroundings
from tunesmith.grading.projects.supervisor import Supervisor
from tunesmith.grading.verdict import LABELS, as_score
from tunesmith.services.local_judge import judge_of
from tunesmith.spec import RftSpec


@asynccontextmanager
async def any_grader(spec: RftSpec, secrets: Mapping[str, str] | None = None) -> AsyncIterator[Grader]:
    """The grader of a spec for the length of a block, a user's project among them.

    Args:
        secrets: environment variables for a project.

    Raises:
        UserError: an evaluator that cannot be loaded, or that makes its attempts itself.
    """
    evaluator = spec.evaluator
    if isinstance(evaluator, str) and evaluator.startswith(PROJECT):
        project = manifest.read(Path(evaluator.removeprefix(PROJECT)))
        if (file := as_file(project)) is None:
            async with _project_grader(project, spec, secrets or {}) as scorer:
                yield scorer
            return
        evaluator = file
    async with grader_of(spec.model_copy(update={"evaluator": evaluator}), judge_of(evaluator)) as pool:
        yield pool


def as_file(project: Project) -> str | None:
    """The evaluator of a project that is one function for our own Python; None where it needs a process of its own."""
    if project.traits.kind == "test" or project.python != Path(sys.executable):
        return None
    return f"{project.root / project.entry.file}::{project.entry.function}"


class _ProjectGrader:
    """Has one reply after another scored, as many at once as the project may."""

    def __init__(self, supervisor: Supervisor, most: int) -> None:
        self._supervisor, self._free = supervisor, asyncio.Semaphore(most)

    async def __call__(self, rollout: Rollout, row: Row) -> Score:
        attempt = {
            "id": token_hex(12),
            "prompt_id": "",
            "row": row,
            "completion_params": {},
            "reply": {"role": "assistant", "content": rollout.text},
            "finish_reason": "stop" if rollout.stop == "stop" else "length",
        }
        async with self._free:
            [reply] = await self._supervisor.ask([attempt], [Idle()])
        return score_of(reply)


class Idle:
    """An attempt that asks the policy for nothing."""

    def busy_since(self) -> float:
        return 0.0

    def again(self) -> None:
        pass


def score_of(reply: Reply) -> Score:
    """What a project's process said of an attempt.

    Raises:
        GradingError: it has no score; says why.
    """
    if "label" in reply:
        label = str(reply["label"])
        raise GradingError(label if label in LABELS else "error", str(reply.get("detail", "")))
    return as_score(reply.get("value"))


@asynccontextmanager
async def _project_grader(project: Project, spec: RftSpec, secrets: Mapping[str, str]) -> AsyncIterator[_ProjectGrader]:
    traits = project.traits
    if not traits.single_turn or traits.mode != "pointwise":
        why = (
            f"scores groups ({traits.mode})" if traits.single_turn else f"makes its attempts itself: {traits.processor}"
        )
        raise UserError(
            "evaluator", f"{why}, so it cannot score single replies", "Give one that scores a reply by itself"
        )
    given = Surroundings(
        memory_mb=spec.grader_memory_mb, scoring_s=spec.grader_timeout_s, secrets=secrets, network=spec.grader_network
    )
    supervisor = Supervisor(project, given, spec.rollout_timeout_s)
    try:
        await supervisor.ready()
        yield _ProjectGrader(supervisor, spec.concurrency())
    finally:
        await supervisor.close()
