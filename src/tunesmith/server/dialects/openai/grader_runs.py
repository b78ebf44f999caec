"""``/fine_tuning/alpha/graders``: trying a grader before a job depends on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout, Score
from tunesmith.grading import GraderPool, build_grader
from tunesmith.grading.composed import runs_python
from tunesmith.grading.composed.judged import CALLS, TOKENS
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.openai.engine_judge import EngineJudge
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.openai.fine_tuning_request import Wire
from tunesmith.server.dialects.openai.graders import evaluator
from tunesmith.services.user_code import check_walls

ALPHA = "/fine_tuning/alpha/graders"
TIMEOUT_S, MEMORY_MB = 10.0, 2048
ERRORS = (
    *("formula_parse_error", "invalid_variable_error", "other_error", "sample_parse_error"),
    *("model_grader_parse_error", "model_grader_refusal_error", "model_grader_server_error"),
    *("python_grader_runtime_error", "python_grader_server_error"),
    *("truncated_observation_error", "unresponsive_reward_error"),
)
"""What a client wants to be told of, each true or false."""
router = new_router()


class Validate(Wire):
    """``POST .../validate``."""

    grader: dict[str, Any]


class Run(Wire):
    """``POST .../run``."""

    grader: dict[str, Any]
    model_sample: str
    item: dict[str, Any] | None = None


@router.post(ALPHA + "/validate", response_model=None)
async def validate(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Checks a grader, and loads its source in the sandbox."""
    given = await read_json(request, Validate)
    async with _pool(request, EngineJudge(request, owner), given.grader):
        return {"grader": given.grader}


@router.post(ALPHA + "/run", response_model=None)
async def run(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Grades one completion."""
    given = await read_json(request, Run)
    judge = EngineJudge(request, owner)
    async with _pool(request, judge, given.grader) as grader:
        began, failure, score = time.perf_counter(), None, Score(0.0)
        try:
            score = await grader(Rollout((), given.model_sample, 0, "stop"), given.item or {})
        except GradingError as e:
            failure = e
    return _result(given.grader, score, failure, judge.tokens, time.perf_counter() - began)


@asynccontextmanager
async def _pool(request: Request, judge: EngineJudge, grader: Mapping[str, Any]) -> AsyncIterator[GraderPool]:
    """A process for the grader, loaded; few at a time."""
    text = evaluator(grader, "grader")
    await asyncio.to_thread(judge.check, grader, "grader")
    if runs_python(grader):
        check_walls(request.app.state.keys, "grader")
    grader_pool = build_grader(text, timeout_s=TIMEOUT_S, memory_mb=MEMORY_MB, workers=1, judge=judge)
    async with request.app.state.grader_runs, grader_pool as pool:
        yield pool


def _result(
    grader: Mapping[str, Any], score: Score, failure: GradingError | None, tokens: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    errors: dict[str, Any] = dict.fromkeys(ERRORS, False)
    if failure is not None:
        errors[_error_of(grader, failure)] = True
        errors["python_grader_runtime_error_details"] = str(failure)
        if failure.label == "judge":
            errors["model_grader_server_error_details"] = str(failure)
    parts = {name: value for name, value in score.parts.items() if name not in (CALLS, TOKENS)}
    return {
        "reward": score.reward,
        "sub_rewards": parts,
        "model_grader_token_usage_per_model": dict(tokens),
        "metadata": {
            "name": str(grader.get("name") or grader["type"]),
            "type": grader["type"],
            "errors": errors,
            "execution_time": seconds,
            "scores": parts,
            "token_usage": sum(tokens.values()) or None,
            "sampled_model_name": grader.get("model"),
        },
    }


def _error_of(grader: Mapping[str, Any], failure: GradingError) -> str:
    """The client's name of a failure."""
    if failure.label == "bad_row":
        return "invalid_variable_error"
    if failure.label == "judge":
        return "model_grader_parse_error"
    if failure.label == "bad_value" and not runs_python(grader):
        return "sample_parse_error"
    return "python_grader_runtime_error" if runs_python(grader) else "other_error"
