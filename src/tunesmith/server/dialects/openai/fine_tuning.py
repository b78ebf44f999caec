"""``/fine_tuning/jobs``: managed jobs as OpenAI's clients see them."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from fastapi import Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.openai import job_objects, listing
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.dialects.openai.fine_tuning_request import CreateJob
from tunesmith.server.dialects.openai.job_objects import our_id
from tunesmith.server.routing import reads_rows
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.repeats import RETRY_WINDOW
from tunesmith.services.tuned_models import TunedModels

router = new_router()
JOBS = "/fine_tuning/jobs"
RETRIES = "x-stainless-retry-count"


@router.post(JOBS, response_model=None)
async def create(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Queue a job. A request that a client sends again because its answer was lost gives the job that it made."""
    given = await read_json(request, CreateJob)
    return await asyncio.to_thread(_create, request, owner, given)


@router.get(JOBS, response_model=None)
def jobs(request: Request, owner: Owner, after: str | None = None, limit: listing.Limit = 20) -> Mapping[str, Any]:
    """The newest first, those of other wires too; ``metadata[key]=value`` leaves out the others."""
    wanted = _metadata(request)
    # One more than is shown tells whether there are more.
    most = listing.MOST if wanted or after else limit + 1
    rows = [job for job in _jobs(request).page(owner, limit=most)[0] if _has(job, wanted)]
    return listing.page(rows, job_objects.id_of, lambda job: _body(request, job), after, limit)


@router.get(JOBS + "/{job_id}", response_model=None)
@reads_rows
def job(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    return _body(request, _jobs(request).get(owner, our_id(job_id)))


@router.post(JOBS + "/{job_id}/cancel", response_model=None)
def cancel(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    return _body(request, _jobs(request).cancel(owner, our_id(job_id)))


@router.post(JOBS + "/{job_id}/pause", response_model=None)
def pause(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """It stops after the step in hand."""
    return _body(request, _jobs(request).pause(owner, our_id(job_id)))


@router.post(JOBS + "/{job_id}/resume", response_model=None)
def resume(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """It goes on after its last checkpoint."""
    return _body(request, _jobs(request).resume(owner, our_id(job_id)))


@router.get(JOBS + "/{job_id}/events", response_model=None)
def events(
    request: Request, owner: Owner, job_id: str, after: str | None = None, limit: listing.Limit = 20
) -> Mapping[str, Any]:
    """The newest first: moves, notes, findings, and the metrics of every step."""
    own = _jobs(request).get(owner, our_id(job_id))
    found = job_objects.events(_jobs(request), own, listing.MOST)
    return listing.page(found, lambda event: str(event["id"]), lambda event: event, after, limit)


@router.get(JOBS + "/{job_id}/checkpoints", response_model=None)
def checkpoints(
    request: Request, owner: Owner, job_id: str, after: str | None = None, limit: listing.Limit = 10
) -> Mapping[str, Any]:
    """Those that can be used as a model, newest first: the weights that the job ended with, and what it keeps."""
    jobs = _jobs(request)
    own = jobs.get(owner, our_id(job_id))
    lines = {int(line["step"]): line for line in jobs.metrics(owner, own.id)}
    models = {kept.step: kept.name for kept in jobs.kept.of(own) if kept.step in lines}
    if (result := job_objects.result_of(_tuned(request), own)) is not None and lines:
        models = {max(lines): result} | {step: name for step, name in models.items() if step < max(lines)}
    return listing.page(
        list(models),
        lambda step: job_objects.checkpoint_id(own, step),
        lambda step: job_objects.checkpoint_body(own, models[step], lines[step]),
        after,
        limit,
    )


def _create(request: Request, owner: str, given: CreateJob) -> Mapping[str, Any]:
    found = _tuned(request).get(owner, given.model)
    adapter = found is not None and not found.whole
    base_model = found.base_model if found is not None and adapter else given.model
    retry = request.headers.get(RETRIES, "0") not in ("", "0")
    key = request.headers.get("idempotency-key")
    with given.speaking():
        output_model = _output_model(request, owner, given, retry, key)
        new = given.job(base_model, given.model if adapter else None, output_model)
        return _body(request, _jobs(request).create(owner, new, idempotency_key=key, retry=retry))


def _output_model(request: Request, owner: str, given: CreateJob, retry: bool, key: str | None) -> str | None:
    """A name that begins with the suffix, the same for a request that comes again; None for the job's id."""
    stem = given.stem()
    if stem is None:
        return None
    asked = given.asked()
    digest = hashlib.sha256(json.dumps([asked, key], sort_keys=True).encode()).hexdigest()[:8]
    if key is not None:
        return f"{stem}-{digest}"
    alike = [job for job in _jobs(request).page(owner, kind=given.kind, limit=listing.MOST)[0] if job.asked == asked]
    if retry and alike and _age_s(alike[0]) < RETRY_WINDOW.total_seconds():
        return alike[0].output_model
    names = (f"{stem}-{digest}{'' if n == 1 else f'-{n}'}" for n in count(1))
    taken = {job.output_model for job in alike}
    return next(name for name in names if name not in taken and _tuned(request).get(owner, name) is None)


def _metadata(request: Request) -> dict[str, str]:
    pairs = request.query_params.items()
    return {k[9:-1]: v for k, v in pairs if k.startswith("metadata[") and k.endswith("]")}


def _has(job: Job, wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= (job_objects.asked_of(job).get("metadata") or {}).items()


def _age_s(job: Job) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(job.created_at)).total_seconds()


def _body(request: Request, job: Job) -> dict[str, Any]:
    return job_objects.body(_jobs(request), _tuned(request), request.app.state.curves, job)


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def _tuned(request: Request) -> TunedModels:
    tuned: TunedModels = request.app.state.tuned_models
    return tuned
