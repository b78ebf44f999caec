"""What takes seconds and is computed in a process of its own: a plan's rehearsal, a job's attempts graded anew."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import NewJob, Regrade
from tunesmith.server.dialects.tunesmith.jobs import jobs_of, offspring_of, plan_of
from tunesmith.services.errands import Errand, Errands
from tunesmith.services.jobs.planning import rehearsing

router = new_router("errands")
WAIT_S = 8.0
Wait = Annotated[float, Query(ge=0, le=25, description="Seconds to wait for the answer before it is left to another.")]


@router.post("/jobs/plan", response_model=answers.Plan)
async def plan_job(
    request: Request,
    owner: Owner,
    rehearse: Annotated[bool, Query(description="Run a few real steps and throw them away: time and memory.")] = False,
    wait_s: Wait = WAIT_S,
) -> Mapping[str, Any]:
    """Refuse what a creation would, and say what the job would be; nothing is queued."""
    given = await read_json(request, NewJob)
    plan = await asyncio.to_thread(plan_of, request, owner, given)
    if not rehearse:
        return {**plan, "rehearsal": None}
    asked = await asyncio.to_thread(rehearsing, jobs_of(request), owner, given.job())
    return {**plan, "rehearsal": await _started(request, owner, "plan", asked, wait_s)}


@router.post("/jobs/{job_id}/regrade", response_model=answers.Errand)
async def regrade_job(request: Request, owner: Owner, job_id: str, wait_s: Wait = WAIT_S) -> Errand:
    """Replay the attempts of a job through a changed grader: new rewards, rank agreement, what changed sides."""
    given = await read_json(request, Regrade)
    named = given.named()
    asked = await asyncio.to_thread(lambda: offspring_of(request).regrading(owner, job_id, **named))
    return await _started(request, owner, "regrade", asked, wait_s)


@router.get("/errands/{errand_id}", response_model=answers.Errand)
async def get_errand(request: Request, owner: Owner, errand_id: str, wait_s: Wait = 0) -> Errand:
    """How far it is, and its answer. It is forgotten when the server ends, and after fifty others."""
    return await _errands(request).wait(owner, errand_id, wait_s)


async def _started(request: Request, owner: str, what: str, asked: Mapping[str, Any], wait_s: float) -> Errand:
    errands = _errands(request)
    return await errands.wait(owner, errands.start(owner, what, asked), wait_s)


def _errands(request: Request) -> Errands:
    errands: Errands = request.app.state.errands
    return errands
