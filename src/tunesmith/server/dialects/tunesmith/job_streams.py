"""``/jobs/{job_id}/events``, ``logs`` and ``metrics``: once, or followed as server-sent events until the job ends."""

from typing import Annotated, Any

from fastapi import Query, Request

from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.following import After, Asked, Most, events_of, log_of, metrics_of
from tunesmith.server.dialects.tunesmith.jobs import jobs_of
from tunesmith.server.routing import reads_rows

router = new_router("jobs")


@router.get("/jobs/{job_id}/events", response_model=answers.Events)
@reads_rows
def events(request: Request, asked: Asked, job_id: str, after: After = 0, limit: Most = 200) -> Any:
    """Moves, notes and findings, oldest first, from the event after a number on."""
    return events_of(jobs_of(request), asked, job_id, after, limit)


@router.get("/jobs/{job_id}/logs", response_model=answers.Log)
def logs(asked: Asked, job_id: str, offset: After = 0) -> Any:
    """Complete lines of the log from a byte on, 1 MiB at most."""
    return log_of(jobs_of(asked.request), asked, job_id, offset)


@router.get("/jobs/{job_id}/metrics", response_model=answers.Metrics)
def metrics(asked: Asked, job_id: str, after_step: Annotated[int, Query(ge=-1)] = -1) -> Any:
    """All metrics of every finished step after one."""
    return metrics_of(jobs_of(asked.request), asked, job_id, after_step)
