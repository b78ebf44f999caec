"""What can be done to a job from its page: cancel, pause, resume, delete, download."""

import asyncio

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.errors import Conflict, unknown
from tunesmith.server.tar import tar_response
from tunesmith.server.web import links
from tunesmith.server.web.forms import Form
from tunesmith.server.web.job_page import ADDRESS
from tunesmith.server.web.pages import HEADERS, new_router
from tunesmith.server.web.visitor import Seen
from tunesmith.services.jobs.jobs import Jobs

router = new_router()


@router.get(ADDRESS + "/download")
def download(request: Request, visitor: Seen, slug: str, name: str) -> Response:
    """The result, an adapter or a whole model, as tar."""
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    run = jobs.run(job.owner, job.id)
    folder = next((run.path / part for part in ("adapter", "model") if (run.path / part).is_dir()), None)
    if folder is None:
        raise Conflict(job.name, f"is {job.state} and has no result yet", "Wait until it is done")
    answer = tar_response(folder, job.output_model)
    answer.headers.update(HEADERS)
    return answer


@router.post(ADDRESS + "/{action}")
async def act(request: Request, form: Form, slug: str, name: str, action: str) -> Response:
    """Do it, and show the job; after a deletion, the list."""
    jobs: Jobs = request.app.state.jobs
    verbs = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume, "delete": jobs.delete}
    if action not in verbs:
        raise unknown("action", action[:40], verbs)
    job = await asyncio.to_thread(links.find_job, jobs, form.owner, slug, name)
    await asyncio.to_thread(verbs[action], form.owner, job.id)
    return RedirectResponse(links.JOBS if action == "delete" else links.of_job(job), 303, HEADERS)
