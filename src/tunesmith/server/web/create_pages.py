"""``/dashboard/create``: a job in five steps. The address holds the draft, so back, reload and sharing work."""

import asyncio
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from tunesmith.core.errors import UserError
from tunesmith.grading import GRADERS
from tunesmith.server.web import links
from tunesmith.server.web.datasets_page import SHOWN_PROBLEMS, model_names, preview_of, verdict_of
from tunesmith.server.web.draft import Draft, boxes_of, draft_of, draft_of_job
from tunesmith.server.web.errands_shown import errand_of
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, fragment, new_router, page
from tunesmith.server.web.setting_fields import fields_of, goals_of
from tunesmith.server.web.uploads import take_dataset, uploaded
from tunesmith.server.web.visitor import Seen, Visitor
from tunesmith.services.datasets import Datasets
from tunesmith.services.errands import Errands
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.planning import rehearsing, split_of
from tunesmith.spec import RftSpec

router = new_router()
STEPS = (
    ("", "Kind and model"),
    ("data", "Dataset"),
    ("grader", "Grader"),
    ("settings", "Settings"),
    ("plan", "Plan and launch"),
)
KINDS = {
    "rft": (
        "Reinforcement",
        "Prompts and a grader. The model tries, the grader scores, what scored higher becomes likelier.",
    ),
    "sft": ("Supervised", "Conversations. The model learns to say what the assistant says in them."),
    "dpo": ("Preference", "Pairs of a better and a worse answer. The model learns to prefer the better."),
}


@router.get("/create")
def choose_kind(request: Request, visitor: Seen) -> Response:
    draft = _draft(request)
    return _page(request, visitor, "create_kind.html", "", draft, kinds=KINDS, models=model_names(request))


@router.get("/create/data")
def choose_data(request: Request, visitor: Seen) -> Response:
    """With a dataset, what a check of it found and how the model reads it."""
    draft, datasets = _draft(request), _datasets(request)
    there = [d for d in datasets.page(visitor.owner, states=("READY",), limit=200)[0] if d.kind in ("", draft.kind)]
    view: dict[str, Any] = {"datasets": there, "verdict": None, "preview": None}
    if draft.dataset:
        chosen = datasets.get(visitor.owner, draft.dataset)
        view |= {"verdict": verdict_of(datasets, chosen, draft.kind)}
        view |= {"preview": preview_of(request, chosen, draft.kind, draft.base_model)}
    return _page(request, visitor, "create_data.html", "data", draft, kind=draft.kind, most=SHOWN_PROBLEMS, **view)


@router.post("/create/data")
async def upload_data(request: Request, visitor: Seen) -> Response:
    """Take a file on the way, and go on with it."""
    async with uploaded(request, visitor) as upload:
        draft = draft_of(upload.form.fields.items())
        dataset = await take_dataset(_datasets(request), upload, draft.kind)
    state = (await asyncio.to_thread(_datasets(request).get, visitor.owner, dataset)).state
    there = draft.href("data", dataset=dataset) if state == "READY" else links.of_dataset(dataset)
    return RedirectResponse(there, 303, HEADERS)


@router.get("/create/grader")
def choose_grader(request: Request, visitor: Seen, trial: str = "") -> Response:
    return _grader_page(request, visitor, _draft(request), _errand(request, visitor, trial))


@router.post("/create/try")
async def try_grader(request: Request, form: Form) -> Response:
    """Grade the base model's attempts at ten rows, in a process of its own."""
    draft = draft_of(form.pairs)
    name = await _start(request, form.owner, "try", draft)
    return RedirectResponse(draft.href("grader", trial=name) + "#trial", 303, HEADERS)


@router.get("/create/settings")
def choose_settings(request: Request, visitor: Seen) -> Response:
    job = request.query_params.get("from")
    if job:
        jobs: Jobs = request.app.state.jobs
        draft = draft_of_job(jobs.get(visitor.owner, job))
        changes = {name: value for name, value in request.query_params.items() if name != "from"}
        return RedirectResponse(draft.changed(changes).href("settings"), 303, HEADERS)
    draft = _draft(request)
    if draft.kind == "rft" and not draft.evaluators:
        return _grader_page(request, visitor, draft, None, "Choose at least one grader.")
    return _settings_page(request, visitor, draft, None)


@router.get("/create/plan")
def show_plan(request: Request, visitor: Seen, errand: str = "") -> Response:
    """What the job will be; settings that are refused lead back to their fields."""
    draft = _draft(request)
    jobs: Jobs = request.app.state.jobs
    try:
        spec, warnings = jobs.check(visitor.owner, draft.new_job())
    except UserError as e:
        return _settings_page(request, visitor, draft, e)
    verdict = _datasets(request).verdict(visitor.owner, draft.dataset, draft.kind)
    rows, held = split_of(spec, verdict.rows)
    facts = [("Rows to train on", f"{rows}"), ("Rows held out", f"{held}" if held else draft.evaluation_dataset or "0")]
    facts += [("Steps", str(spec.num_steps(rows)))]
    if isinstance(spec, RftSpec):
        each = spec.prompts_per_chunk(rows) * spec.response_candidates_count
        facts += [("Attempts per step", str(each))]
    view: dict[str, Any] = {"facts": facts, "warnings": warnings, "errand": _errand(request, visitor, errand)}
    return _page(request, visitor, "create_plan.html", "plan", draft, **view)


@router.post("/create/rehearse")
async def rehearse(request: Request, form: Form) -> Response:
    """Run a few steps and throw them away, in a process of its own: what the job will take."""
    draft = draft_of(form.pairs)
    name = await _start(request, form.owner, "plan", draft)
    return RedirectResponse(draft.href("plan", errand=name) + "#rehearsal", 303, HEADERS)


@router.get("/create/errands/{name}")
async def errand_state(request: Request, visitor: Seen, name: str) -> Response:
    """The piece of a page that waits for an errand."""
    view: dict[str, Any] = {"errand": errand_of(request, visitor.owner, name), "name": name}
    return HTMLResponse(fragment("errand.html", **view), headers=HEADERS)


@router.post("/create/launch")
async def launch(request: Request, form: Form) -> Response:
    """Queue the job, and show it."""
    draft, jobs = draft_of(form.pairs), request.app.state.jobs
    names = {name: form.fields.get(name, "").strip() or None for name in ("name", "output_model")}
    title = form.fields.get("display_name", "").strip()

    def make() -> str:
        spec = jobs.specs.build(form.owner, "draft", draft.new_job())
        typed = {name: getattr(spec, name) for name in draft.settings if name != "warm_start_from"}
        typed |= {name: value for name, value in draft.settings.items() if name == "warm_start_from"}
        return links.of_job(jobs.create(form.owner, draft.new_job(typed, display_name=title, **names)))

    return RedirectResponse(await asyncio.to_thread(make), 303, HEADERS)


def _grader_page(
    request: Request, visitor: Visitor, draft: Draft, trial: dict[str, Any] | None, problem: str = ""
) -> Response:
    evaluators: Evaluators = request.app.state.evaluators
    own = evaluators.page(visitor.owner, states=("ACTIVE",), limit=200)[0]
    view: dict[str, Any] = {"graders": GRADERS, "own": own, "boxes": boxes_of(draft), "trial": trial}
    status = 400 if problem else 200
    return _page(request, visitor, "create_grader.html", "grader", draft, status, **view, problem=problem)


def _settings_page(request: Request, visitor: Seen, draft: Draft, refused: UserError | None) -> Response:
    view: dict[str, Any] = {"fields": fields_of(draft, refused), "goals": goals_of(draft), "refused": refused}
    return _page(request, visitor, "create_settings.html", "settings", draft, 400 if refused else 200, **view)


async def _start(request: Request, owner: str, what: str, draft: Draft) -> str:
    jobs: Jobs = request.app.state.jobs
    errands: Errands = request.app.state.errands
    return errands.start(owner, what, await asyncio.to_thread(rehearsing, jobs, owner, draft.new_job()))


def _errand(request: Request, visitor: Seen, name: str) -> dict[str, Any] | None:
    return {"errand": errand_of(request, visitor.owner, name), "name": name} if name else None


def _draft(request: Request) -> Draft:
    return draft_of(request.query_params.multi_items())


def _page(
    request: Request, visitor: Seen, template: str, step: str, draft: Draft, status: int = 200, **view: Any
) -> Response:
    steps = [(part, name) for part, name in STEPS if part != "grader" or draft.kind == "rft"]
    return page(request, template, visitor, status, draft=draft, step=step, steps=steps, **view)


def _datasets(request: Request) -> Datasets:
    datasets: Datasets = request.app.state.datasets
    return datasets
