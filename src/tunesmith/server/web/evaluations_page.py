"""``/dashboard/evaluations``: how good models are, one evaluation with its worst and best answers, and a new one."""

import asyncio
from collections.abc import Hashable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.errors import UserError, unknown
from tunesmith.grading import GRADERS
from tunesmith.server.web import links
from tunesmith.server.web.datasets_page import model_names
from tunesmith.server.web.forms import Form
from tunesmith.server.web.job_view import ACTIONS
from tunesmith.server.web.live import stamp, stream
from tunesmith.server.web.pages import HEADERS, fragment, new_router, page
from tunesmith.server.web.visitor import Seen
from tunesmith.services import evaluation_answers
from tunesmith.services.datasets import Datasets
from tunesmith.services.evaluators import PREFIX, Evaluators
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import ENDED, MOVES
from tunesmith.services.tuned_models import TunedModels

router = new_router()
MOST = 200
SHOWN = 10
"""Answers on a page."""
ADDRESS = "/evaluations/{name}"
LIVE = ("head", "score", "answers")
"""Parts of the page of one that the stream replaces."""
FIELDS = ("model", "eval_samples", "temperature", "max_tokens", "output_dataset")
"""Of the form, those that may stay empty."""


@router.get("/evaluations")
def list_evaluations(request: Request, visitor: Seen) -> Response:
    return page(request, "evaluations.html", visitor, **_list(_jobs(request), visitor.owner))


@router.get("/live/evaluations")
async def live_list(request: Request, visitor: Seen) -> Response:
    """The rows of the list, whenever one of them changes."""
    jobs = _jobs(request)

    def key() -> Hashable:
        found, total = jobs.page(visitor.owner, limit=MOST)
        return total, *((job.id, job.updated_at, _stamp(jobs, job)) for job in found)

    def look() -> dict[str, str]:
        return {"rows": fragment("evaluations_rows.html", **_list(jobs, visitor.owner))}

    return stream(request, key, look)


@router.get("/create/evaluation")
def new_evaluation(
    request: Request, visitor: Seen, model: str | None = None, evaluator: str = "", dataset: str = ""
) -> Response:
    """The form; what the address names is chosen already, else the newest tuned model."""
    chosen = {} if model is None else {"model": model}
    return _form(request, visitor, chosen | {"evaluator": evaluator, "dataset": dataset})


@router.post("/evaluations")
async def create(request: Request, visitor: Seen, form: Form) -> Response:
    """Queue it and show it; a refusal stands above the form as it was sent."""
    given = {name: value.strip() for name, value in form.fields.items()}
    try:
        job = await asyncio.to_thread(lambda: _jobs(request).create(form.owner, _asked(form.need("dataset"), given)))
    except UserError as e:
        return await asyncio.to_thread(_form, request, visitor, given, e)
    return RedirectResponse(links.of_evaluation(job), 303, HEADERS)


@router.get(ADDRESS)
def evaluation_page(request: Request, visitor: Seen, name: str, order: str = "worst", at: int = 0) -> Response:
    jobs = _jobs(request)
    job = jobs.find(visitor.owner, EVALUATION, name)
    return page(request, "evaluation.html", visitor, **_view(jobs, job), **_answers(jobs, job, order, at))


@router.get(ADDRESS + "/live")
async def live_evaluation(request: Request, visitor: Seen, name: str, order: str = "worst", at: int = 0) -> Response:
    """State, progress, score and answers whenever they change."""
    jobs = _jobs(request)

    def look() -> dict[str, str]:
        job = jobs.find(visitor.owner, EVALUATION, name)
        view = _view(jobs, job) | _answers(jobs, job, order, at)
        return {part: fragment(f"evaluation_{part}.html", visitor=visitor, **view) for part in LIVE}

    def key() -> Hashable:
        job = jobs.find(visitor.owner, EVALUATION, name)
        return job.updated_at, _stamp(jobs, job)

    await asyncio.to_thread(key)
    return stream(request, key, look)


@router.post(ADDRESS + "/{action}")
async def act(request: Request, form: Form, name: str, action: str) -> Response:
    """Do it, and show the evaluation; after a deletion, the list."""
    jobs = _jobs(request)
    verbs = {"cancel": jobs.cancel, "resume": jobs.resume, "delete": jobs.delete}
    if action not in verbs:
        raise unknown("action", action[:40], verbs)
    job = await asyncio.to_thread(jobs.find, form.owner, EVALUATION, name)
    await asyncio.to_thread(verbs[action], form.owner, job.id)
    return RedirectResponse(links.EVALUATIONS if action == "delete" else links.of_evaluation(job), 303, HEADERS)


def _asked(dataset: str, given: dict[str, str]) -> NewJob:
    """What the form asks for."""
    graders = given.get("evaluator", "").split()
    if not graders:
        raise UserError("evaluator", "none was chosen", "Choose a grader")
    settings: dict[str, Any] = {name: given[name] for name in FIELDS if given.get(name)}
    settings["evaluator"] = graders[0] if len(graders) == 1 else graders
    return NewJob(EVALUATION, settings, dataset, None, given.get("name") or None)


def _form(request: Request, visitor: Seen, given: dict[str, str], refused: UserError | None = None) -> Response:
    datasets: Datasets = request.app.state.datasets
    evaluators: Evaluators = request.app.state.evaluators
    tuned: TunedModels = request.app.state.tuned_models
    there = [d.id for d in datasets.page(visitor.owner, states=("READY",), limit=MOST)[0] if d.kind in ("", "rft")]
    own = [f"{PREFIX}{e.id}" for e in evaluators.page(visitor.owner, states=("ACTIVE",), limit=MOST)[0]]
    models = [("Tuned", [m.name for m in tuned.page(visitor.owner, limit=MOST)[0]]), ("Base", model_names(request))]
    view: dict[str, Any] = {"datasets": there, "graders": [*own, *GRADERS], "models": models, "given": given}
    return page(request, "evaluations_new.html", visitor, 200 if refused is None else 400, **view, refused=refused)


def _list(jobs: Jobs, owner: str) -> dict[str, Any]:
    found, total = jobs.page(owner, limit=MOST)
    return {"rows": [_row(jobs, job) for job in found], "total": total}


def _stamp(jobs: Jobs, job: Job) -> tuple[int, ...]:
    """When the files that its pages show were changed last."""
    run = jobs.folders.run(job.id).path
    return stamp(run / "metrics.jsonl", run / "state.json", run / "card.json")


def _row(jobs: Jobs, job: Job) -> dict[str, Any]:
    """What a list says of an evaluation."""
    card = jobs.folders.run(job.id).card()
    score = evaluation_answers.score_on(card) if card else None
    return {"job": job, "href": links.of_evaluation(job), "score": score, "progress": jobs.progress_of(job)}


def _view(jobs: Jobs, job: Job) -> dict[str, Any]:
    """The parts of its page that change."""
    actions = [(verb, name) for verb, to, name in ACTIONS if verb != "pause" and not {*to}.isdisjoint(MOVES[job.state])]
    score = evaluation_answers.score(jobs.folders.run(job.id))
    return _row(jobs, job) | {"score": score, "actions": actions, "settled": job.state in ENDED}


def _answers(jobs: Jobs, job: Job, order: str, at: int) -> dict[str, Any]:
    """Some of what was graded so far."""
    order, at = order if order in evaluation_answers.ORDERS else "worst", max(0, at)
    found, total = evaluation_answers.answers(jobs.run(job.owner, job.id), order, SHOWN, at)
    there: dict[str, Any] = {"answers": found, "total": total, "order": order, "from_answer": at}
    return there | {"orders": evaluation_answers.ORDERS, "shown": SHOWN}


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.evaluations
    return jobs
