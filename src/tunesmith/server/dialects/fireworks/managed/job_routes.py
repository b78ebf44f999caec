"""Routes that all collections of managed jobs have, and the job that an address names."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from tunesmith.core.errors import NotFound
from tunesmith.server import files
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.managed.job_kinds import KINDS, JobKind
from tunesmith.server.dialects.fireworks.managed.job_objects import STATES
from tunesmith.server.routing import Router
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import ENDED

OF_COLLECTION = {kind.collection: kind for kind in KINDS}
Handler = TypeVar("Handler", bound=Callable[..., Any])


def each(router: Router, method: str, below: str = "") -> Callable[[Handler], Handler]:
    """A route in every collection of jobs."""

    def add(handler: Handler) -> Handler:
        for kind in KINDS:
            path = f"/v1/accounts/{{account}}/{kind.collection}{below}"
            router.add_api_route(path, handler, methods=[method], response_model=None)
        return handler

    return add


async def kind_of(request: Request, owner: Owner, account: str) -> JobKind:
    """Of the collection that an address names; only the key's own account will do."""
    names.check_account(owner, account)
    return OF_COLLECTION[request.url.path.split("/")[4]]


Kind = Annotated[JobKind, Depends(kind_of)]


def job_of(request: Request, owner: Owner, kind: Kind, job_id: str) -> Job:
    jobs: Jobs = request.app.state.jobs
    return jobs.find(owner, kind.kind, job_id)


Found = Annotated[Job, Depends(job_of)]


def cancel(jobs: Jobs, job: Job) -> None:
    """
    Raises:
        HTTPException: it has ended otherwise; says so in this wire's words.
    """
    if job.state == "deleting" or (job.state in ENDED and job.state != "cancelled"):
        state = "JOB_STATE_DELETED" if job.state == "deleting" else STATES[job.state]
        raise HTTPException(400, f"cannot cancel job in state: {state}")
    jobs.cancel(job.owner, job.id)


def link_to(request: Request, jobs: Jobs, job: Job, name: str, what: str) -> str:
    """A signed address of a file in the job's run folder.

    Raises:
        NotFound: it is not written yet.
    """
    file = jobs.run(job.owner, job.id).path / name
    if not file.is_file():
        raise NotFound(job.name, f"has no {what} yet", "Wait until it runs")
    return files.link(request, file)
