"""``/dashboard/fine-tuning``: the list of jobs, by kind and state."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.server.web import links
from tunesmith.server.web.job_row import JobRow, row_of
from tunesmith.server.web.live import stamp, stream
from tunesmith.server.web.pages import fragment, new_router, page
from tunesmith.server.web.visitor import Seen
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import STATES

router = new_router()
PAGE_ROWS = 25
GROUPS: dict[str, tuple[str, ...]] = {
    "active": ("created", "validating", "queued", "running", "pausing", "paused", "cancelling"),
    "succeeded": ("succeeded", "early_stopped"),
    "stopped": ("failed", "cancelled"),
}
"""State filters; others are states themselves."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address says."""

    kind: str
    state: str
    page: int

    def href(self, **changes: Any) -> str:
        values = {"kind": self.kind, "state": self.state, "page": self.page, **changes}
        shown = {name: value for name, value in values.items() if value and (name, value) != ("page", 1)}
        return links.JOBS + (f"?{urlencode(shown)}" if shown else "")


@dataclass(frozen=True, slots=True)
class JobList:
    """One page of the list."""

    filters: Filters
    rows: list[JobRow]
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE_ROWS))


@router.get("")
@router.get("/")
def home() -> Response:
    return RedirectResponse(links.JOBS, 303)


@router.get("/fine-tuning")
def list_jobs(request: Request, visitor: Seen, kind: str = "", state: str = "") -> Response:
    number = request.query_params.get("page", "1")
    filters = Filters(kind, state, max(1, int(number)) if number.isdecimal() and len(number) < 6 else 1)
    return page(request, "jobs.html", visitor, list=_list(request, visitor.owner, filters), groups=GROUPS)


@router.get("/fine-tuning/live")
async def live_list(request: Request, visitor: Seen, kind: str = "", state: str = "") -> Response:
    """The rows of the first page, whenever they change."""

    jobs: Jobs = request.app.state.jobs
    filters = Filters(kind, state, 1)
    known: dict[Hashable, JobRow] = {}

    def key_of(job: Job) -> Hashable:
        run = jobs.folders.run(job.id).path
        return job.id, job.updated_at, stamp(run / "metrics.jsonl", run / "state.json")

    def look() -> dict[str, str]:
        # Most rows are as they were: only the others are read anew.
        found, total = _page(jobs, visitor.owner, filters)
        rows = [known.get(key_of(job)) or row_of(jobs, request.app.state.curves, job) for job in found]
        known.clear()
        known.update({key_of(row.job): row for row in rows})
        return {"jobs": fragment("jobs_rows.html", list=JobList(filters, rows, total))}

    return stream(request, lambda: tuple(map(key_of, _page(jobs, visitor.owner, filters)[0])), look)


def _list(request: Request, owner: str, filters: Filters) -> JobList:
    jobs: Jobs = request.app.state.jobs
    found, total = _page(jobs, owner, filters)
    return JobList(filters, [row_of(jobs, request.app.state.curves, job) for job in found], total)


def _page(jobs: Jobs, owner: str, filters: Filters) -> tuple[list[Job], int]:
    states = GROUPS.get(filters.state, (filters.state,) if filters.state in STATES else ())
    kind = filters.kind if filters.kind in links.SLUGS else None
    offset = (filters.page - 1) * PAGE_ROWS
    return jobs.page(owner, kind=kind, states=states, limit=PAGE_ROWS, offset=offset)
