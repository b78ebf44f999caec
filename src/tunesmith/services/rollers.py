"""Who makes a job's attempts: what its evaluator asks for, a single reply to be graded or a user's whole project."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Roller
from tunesmith.grading import GraderPool, grader_of
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import PROJECT, Project
from tunesmith.rollout.collect import Recorded, SingleTurn
from tunesmith.services.engine import Engine, SamplingEngine
from tunesmith.services.local_judge import judge_of
from tunesmith.services.project_roller import ProjectRoller
from tunesmith.spec import RftSpec


@asynccontextmanager
async def roller_of(
    spec: RftSpec, engine: Engine | SamplingEngine, secrets: Mapping[str, str] | None = None
) -> AsyncIterator[Roller]:
    """The roller of a spec, for the length of a block.

    Args:
        secrets: environment variables for a user's project.

    Raises:
        UserError: the evaluator cannot be read or loaded.
    """
    project = _project_of(spec)
    if project is not None and not _is_plain(project):
        longest = min(spec.max_context_length, engine.model.config.max_positions)
        given = (project, engine.sampler, engine.renderer, spec, longest, secrets or {})
        async with ProjectRoller(*given) as roller:
            yield roller
        return
    async with _pool_of(spec, project) as grader:
        yield SingleTurn(engine.sampler, grader, engine.renderer.decode)


@asynccontextmanager
async def recorded_of(spec: RftSpec) -> AsyncIterator[Roller]:
    """The roller of answers that rows hold already, for the length of a block.

    Raises:
        UserError: the evaluator cannot be read or loaded, or makes its attempts itself.
    """
    project = _project_of(spec)
    if project is not None and not _is_plain(project):
        problem = "makes its attempts itself, so it needs a model to make them with"
        raise UserError("model", problem, "Name one: a base model, a tuned model or a deployment")
    async with _pool_of(spec, project) as grader:
        yield Recorded(grader)


def _project_of(spec: RftSpec) -> Project | None:
    """The uploaded project that a spec names; None where it names graders."""
    text = spec.evaluator
    named = isinstance(text, str) and text.startswith(PROJECT)
    return manifest.read(Path(str(text).removeprefix(PROJECT))) if named else None


def _is_plain(project: Project) -> bool:
    """Whether it is a function that our own Python can run as a grader."""
    return project.traits.kind != "test" and project.python == Path(sys.executable)


def _pool_of(spec: RftSpec, project: Project | None) -> GraderPool:
    """The grader of a spec; of a plain project its function."""
    evaluator: str | list[str] = spec.evaluator
    if project is not None:
        evaluator = f"{project.root / project.entry.file}::{project.entry.function}"
    return grader_of(spec.model_copy(update={"evaluator": evaluator}), judge_of(evaluator))
