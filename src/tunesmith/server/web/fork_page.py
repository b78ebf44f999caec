"""``.../fork``: another job that shares this one's past up to a kept step, with a setting changed; and its family."""

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.described import descriptions
from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.web import links, words
from tunesmith.server.web.draft import ELSEWHERE
from tunesmith.server.web.forms import Form
from tunesmith.server.web.job_page import ADDRESS
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import Seen
from tunesmith.services.fork import FROM_THE_START, GOES_ON, begin_of_fork, kept_steps
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.offspring import Offspring
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec.load import build_spec

router = new_router()


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that a fork can change."""

    name: str
    now: str
    meaning: str
    from_start: bool
    """The shared past would rest on it: only the settings are shared then."""


@router.get(ADDRESS + "/fork")
def choose(request: Request, visitor: Seen, slug: str, name: str, setting: str = "learning_rate") -> Response:
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    run = _begun(jobs, job)
    steps, end = kept_steps(run)[::-1], run.state().num_steps
    view: dict[str, Any] = {"job": job, "href": links.of_job(job), "steps": steps, "end": end}
    view["begin"] = begin_of_fork(run, setting in GOES_ON)
    return page(request, "fork.html", visitor, **view, choices=_choices(run), chosen=setting)


@router.post(ADDRESS + "/fork")
async def fork(request: Request, form: Form, slug: str, name: str) -> Response:
    """Queue the fork, with a setting that was typed or with the change of a finding."""
    made = await asyncio.to_thread(_fork, request.app.state.jobs, form.owner, slug, name, form.fields)
    return RedirectResponse(links.of_job(made), 303, HEADERS)


def _fork(jobs: Jobs, owner: str, slug: str, name: str, fields: dict[str, str]) -> Job:
    job, offspring = links.find_job(jobs, owner, slug, name), Offspring(jobs)
    new_name = fields.get("name", "").strip() or None
    if "finding" in fields:
        return offspring.fork_advised(owner, job.id, fields["finding"], name=new_name)
    run, setting = _begun(jobs, job), fields.get("setting", "")
    if setting not in {choice.name for choice in _choices(run)}:
        raise UserError("setting", f"{setting[:40]!r} cannot be changed in a fork", "Choose one of the list")
    text, step = fields.get("value", "").strip(), fields.get("at_step", "")
    value = None if text in ("", "none") else text
    typed = getattr(build_spec({**run.spec(), setting: value}, job.kind), setting)
    at_step = int(step) if step.isdecimal() else None
    return offspring.fork(owner, job.id, {setting: typed}, at_step, name=new_name)


def _choices(run: RunFolder) -> list[Choice]:
    spec = run.spec()
    return [
        Choice(name, words.typed(spec.get(name)), meaning, name in FROM_THE_START)
        for name, meaning in descriptions(type(build_spec(spec))).items()
        if name not in ELSEWHERE
    ]


def _begun(jobs: Jobs, job: Job) -> RunFolder:
    run = jobs.run(job.owner, job.id)
    if not (run.path / "state.json").is_file():
        raise NotFound(job.name, "has not begun", "Wait until the job runs; before that, clone it")
    return run
