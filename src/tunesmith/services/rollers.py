"""Who makes a job's attempts: what its evaluator asks for, a single reply to be graded or a user's whole project.

Where the evaluator is `recorded`, nobody does: the dataset holds them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tunesmith.core.ports import Roller
from tunesmith.grading import grader_of
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import PROJECT
from tunesmith.rollout.collect import RecordedAttempts, SingleTurn
from tunesmith.services.engine import Engine, SamplingEngine
from tunesmith.services.local_judge import judge_of
from tunesmith.services.outside import NOTHING, Outside
from tunesmith.services.project_grader import as_file
from tunesmith.services.project_roller import ProjectRoller
from tunesmith.spec import RftSpec


@asynccontextmanager
async def roller_of(
    spec: RftSpec, engine: Engine | SamplingEngine, outside: Outside = NOTHING
) -> AsyncIterator[Roller]:
    """The roller of a spec, for the length of a block.

    Args:
        outside: for a user's project.

    Raises:
        UserError: the evaluator cannot be read or loaded.
    """
    evaluator = spec.evaluator
    if spec.recorded:
        yield RecordedAttempts(engine.sampler)
        return
    if isinstance(evaluator, str) and evaluator.startswith(PROJECT):
        project = manifest.read(Path(evaluator.removeprefix(PROJECT)))
        if (file := as_file(project)) is None:
            longest = min(spec.max_context_length, engine.model.config.max_positions)
            given = (project, engine.sampler, engine.renderer, spec, longest, outside)
            async with ProjectRoller(*given) as roller:
                yield roller
            return
        evaluator = file
    pool = grader_of(spec.model_copy(update={"evaluator": evaluator}), judge_of(evaluator))
    async with pool as grader:
        yield SingleTurn(engine.sampler, grader, engine.renderer.decode)
