"""Jobs that come from others: forks, with settings changed by hand or by the advice."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import Advised, Clone, Fork
from tunesmith.server.dialects.tunesmith.jobs import Key, offspring_of, shown

router = new_router("jobs")


@router.post("/jobs/{job_id}/clone", response_model=answers.Job)
async def clone_job(request: Request, owner: Owner, job_id: str, idempotency_key: Key = None) -> Mapping[str, Any]:
    """A new job with the settings of this one; those in the body are changed."""
    given = await read_json(request, Clone)
    named = {**given.named(), "idempotency_key": idempotency_key}
    job = await asyncio.to_thread(lambda: offspring_of(request).clone(owner, job_id, given.settings, **named))
    return await asyncio.to_thread(shown, request, job)


@router.post("/jobs/{job_id}/fork", response_model=answers.Job)
async def fork_job(request: Request, owner: Owner, job_id: str, idempotency_key: Key = None) -> Mapping[str, Any]:
    """A new job that shares the past of this one up to a kept step, and goes on with the settings in the body.

    What a shared past rests on cannot be changed but from step 0: datasets, base model, shape of the adapter, seed.
    """
    given = await read_json(request, Fork)
    named = {**given.named(), "idempotency_key": idempotency_key}
    job = await asyncio.to_thread(lambda: offspring_of(request).fork(owner, job_id, given.settings, **named))
    return await asyncio.to_thread(shown, request, job)


@router.get("/jobs/{job_id}/advice", response_model=answers.Advice)
def advice(request: Request, owner: Owner, job_id: str) -> dict[str, Any]:
    """Its findings ranked, and the one change to try next."""
    found = offspring_of(request).advice(owner, job_id)
    return {"findings": found.findings, "change": found.change, "fork_at": found.fork_at}


@router.post("/jobs/{job_id}/advice", response_model=answers.Job)
async def take_advice(request: Request, owner: Owner, job_id: str, idempotency_key: Key = None) -> Mapping[str, Any]:
    """A fork with the one change of a finding; refused where only a person can make it."""
    given = await read_json(request, Advised)
    named = {**given.named(), "idempotency_key": idempotency_key}
    job = await asyncio.to_thread(lambda: offspring_of(request).fork_advised(owner, job_id, **named))
    return await asyncio.to_thread(shown, request, job)
