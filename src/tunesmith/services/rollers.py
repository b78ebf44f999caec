"""Who makes a job's attempts: what its evaluator asks for, a single reply to be graded or a user's whole project."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tunesmith.core.ports import Renderer, Roller, Sampler
from tunesmith.grading import grader_of
from tunesmith.rollout.collect import SingleTurn
from tunesmith.spec import RftSpec


@asynccontextmanager
async def roller_of(
    spec: RftSpec, sampler: Sampler, renderer: Renderer, secrets: Mapping[str, str] | None = None
) -> AsyncIterator[Roller]:
    """The roller of a spec, for the length of a block.

    Args:
        secrets: environment variables for a user's project.

    Raises:
        UserError: the evaluator cannot be read or loaded.
    """
    pool = grader_of(spec)
    async with pool as grader:
        yield SingleTurn(sampler, grader, renderer.decode)
