"""``/dashboard/fine-tuning``: the list of jobs, by kind and state."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.server.web import links
from tunesmith.server.web.job_row import JobRow, row_of
from tunesmith.server.web.live import stream
from tunesmith.server.web.pages import fragment, new_router, page
from tunesmith.server.web.visitor import Seen
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

    async def look() -> dict[str, str]:
        found = await asyncio.to_thread(_list, request, visitor.owner, Filters(kind, state, 1))
        return {"jobs": fragment("jobs_rows.html", list=found)}

    return stream(request, look)


def _list(request: Request, owner: str, filters: Filters) -> JobList:
    jobs: Jobs = request.app.state.jobs
    states = GROUPS.get(filters.state, (filters.state,) if filters.state in STATES else ())
    kind = filters.kind if filters.kind in links.SLUGS else None
    offset = (filters.page - 1) * PAGE_ROWS
    found, total = jobs.page(owner, kind=kind, states=states, limit=PAGE_ROWS, offset=offset)
    return JobList(filters, [row_of(jobs, request.app.state.curves, job) for job in found], total)
