"""``.../regrade``: what another grader would have said of a job's attempts, before a job is run with it."""

import asyncio
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.grading.builtin import GRADERS
from tunesmith.server.web import links
from tunesmith.server.web.errands_shown import errand_of
from tunesmith.server.web.forms import Form
from tunesmith.server.web.job_page import ADDRESS
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import Seen
from tunesmith.services.errands import Errands
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.offspring import Offspring

router = new_router()


@router.get(ADDRESS + "/regrade")
def regrade_page(request: Request, visitor: Seen, slug: str, name: str, errand: str = "") -> Response:
    job = links.find_job(request.app.state.jobs, visitor.owner, slug, name)
    evaluators: Evaluators = request.app.state.evaluators
    own = [f"uploaded:{e.id}" for e in evaluators.page(visitor.owner, states=("ACTIVE",), limit=200)[0]]
    view: dict[str, Any] = {"job": job, "href": links.of_job(job), "graders": [*own, *GRADERS], "name": errand}
    return page(
        request, "regrade.html", visitor, **view, errand=errand_of(request, visitor.owner, errand) if errand else None
    )


@router.post(ADDRESS + "/regrade")
async def regrade(request: Request, form: Form, slug: str, name: str) -> Response:
    """Grade in a process of its own, and show what comes of it."""
    jobs: Jobs = request.app.state.jobs
    errands: Errands = request.app.state.errands
    named, held_out = form.need("evaluator").split(), form.fields.get("set") == "eval"
    job = await asyncio.to_thread(links.find_job, jobs, form.owner, slug, name)
    asked = await asyncio.to_thread(Offspring(jobs).regrading, form.owner, job.id, named, None, held_out)
    started = errands.start(form.owner, "regrade", asked)
    return RedirectResponse(f"{links.of_job(job)}/regrade?errand={started}#result", 303, HEADERS)
