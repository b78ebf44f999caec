"""``/evaluations``: how good a model's answers are on a dataset, or those that its rows hold."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Query, Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.following import After, Asked, Most, events_of, log_of
from tunesmith.server.dialects.tunesmith.given import NewEvaluation
from tunesmith.server.dialects.tunesmith.jobs import Key, Limit, Offset
from tunesmith.server.web import links
from tunesmith.services import evaluation_answers
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs

router = new_router("evaluations")
ONE = "/evaluations/{evaluation_id}"


@router.post("/evaluations", response_model=answers.Evaluation)
async def create_evaluation(request: Request, owner: Owner, idempotency_key: Key = None) -> Mapping[str, Any]:
    """Check everything that can be checked without the model, and queue it.

    Beside the fields below, the settings of rft that sample and grade are fields of the body.
    """
    given = await read_json(request, NewEvaluation)

    def make() -> Mapping[str, Any]:
        made = evaluations_of(request).create(owner, given.job(), idempotency_key=idempotency_key)
        return _shown(request, made)

    return await asyncio.to_thread(make)


@router.get("/evaluations", response_model=answers.Page[answers.EvaluationSummary])
def list_evaluations(
    request: Request,
    owner: Owner,
    state: Annotated[list[str] | None, Query(description="In these states; give it several times.")] = None,
    beginning: Annotated[str, Query(description="Those whose id or name begins so.")] = "",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Mapping[str, Any]:
    """The key's own, of all wires; the newest first."""
    jobs = evaluations_of(request)
    found, total = jobs.page(owner, states=state or (), beginning=beginning, limit=limit, offset=offset)
    return answers.page([summary_of(jobs, job) for job in found], total, offset)


@router.get(ONE, response_model=answers.Evaluation)
def get_evaluation(request: Request, owner: Owner, evaluation_id: str) -> Mapping[str, Any]:
    """An evaluation with how far it is and its score so far."""
    return _shown(request, evaluations_of(request).get(owner, evaluation_id))


@router.get(ONE + "/results", response_model=answers.Page[answers.GradedAnswer])
def results(
    request: Request,
    owner: Owner,
    evaluation_id: str,
    order: Literal["file", "worst", "best"] = "file",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Mapping[str, Any]:
    """The answers that are graded, with what the grader said. All of them are in the dataset that it leaves."""
    run = evaluations_of(request).run(owner, evaluation_id)
    found, total = evaluation_answers.answers(run, order, limit, offset)
    return answers.page(found, total, offset)


@router.get(ONE + "/events", response_model=answers.Events)
def evaluation_events(asked: Asked, evaluation_id: str, after: After = 0, limit: Most = 200) -> Any:
    """Moves and notes, oldest first, from the event after a number on."""
    return events_of(evaluations_of(asked.request), asked, evaluation_id, after, limit)


@router.get(ONE + "/logs", response_model=answers.Log)
def evaluation_logs(asked: Asked, evaluation_id: str, offset: After = 0) -> Any:
    """Complete lines of the log from a byte on, 1 MiB at most."""
    return log_of(evaluations_of(asked.request), asked, evaluation_id, offset)


@router.post(ONE + "/cancel", response_model=answers.Evaluation)
def cancel_evaluation(request: Request, owner: Owner, evaluation_id: str) -> Mapping[str, Any]:
    """End it; one that runs is `cancelling` for at most a few seconds."""
    return _shown(request, evaluations_of(request).cancel(owner, evaluation_id))


@router.post(ONE + "/resume", response_model=answers.Evaluation)
def resume_evaluation(request: Request, owner: Owner, evaluation_id: str) -> Mapping[str, Any]:
    """Queue a cancelled or failed one again; it goes on after the last batch that is stored."""
    return _shown(request, evaluations_of(request).resume(owner, evaluation_id))


@router.delete(ONE, status_code=204)
def delete_evaluation(request: Request, owner: Owner, evaluation_id: str) -> None:
    """Remove it with all that it wrote; the dataset that it left stays."""
    evaluations_of(request).delete(owner, evaluation_id)


def evaluations_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.evaluations
    return jobs


def summary_of(jobs: Jobs, job: Job) -> dict[str, Any]:
    """An evaluation as lists show it."""
    own = ("id", "name", "display_name", "state", "reason", "dataset", "settings", "starts")
    times = ("created_at", "updated_at", "started_at", "ended_at")
    named = {name: job.settings.get(name) for name in ("evaluator", "model", "output_dataset")}
    card = jobs.folders.run(job.id).card()
    score = evaluation_answers.score_on(card) if card else None
    return {name: getattr(job, name) for name in (*own, *times)} | named | {"score": score}


def _shown(request: Request, job: Job) -> Mapping[str, Any]:
    jobs = evaluations_of(request)
    score = evaluation_answers.score(jobs.folders.run(job.id))
    more = {"score": score, "progress": jobs.progress_of(job), "page": links.of_evaluation(job)}
    return summary_of(jobs, job) | more
