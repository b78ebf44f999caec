"""``.../card.*``: the card of a job that has ended, as a picture, a page, Markdown and JSON."""

from fastapi import Request, Response

from tunesmith.server.web import links
from tunesmith.server.web.as_command import as_command
from tunesmith.server.web.job_page import ADDRESS
from tunesmith.server.web.pages import HEADERS, new_router
from tunesmith.server.web.visitor import Seen
from tunesmith.services.card_files import card_file
from tunesmith.services.jobs.jobs import Jobs

router = new_router()
OWN_STYLE = {**HEADERS, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@router.get(ADDRESS + "/card.{form}")
def card(request: Request, visitor: Seen, slug: str, name: str, form: str) -> Response:
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    (_, command), *_ = as_command(job, str(request.base_url).rstrip("/"))
    run, called = jobs.run(job.owner, job.id), job.display_name or job.name
    data, media_type = card_file(run, form, called, " ".join(command.replace("\\\n", " ").split()))
    return Response(data, media_type=media_type, headers=OWN_STYLE)
