"""Managed jobs of all three kinds: created, looked at, cancelled, resumed, deleted."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from tunesmith.core.errors import UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import job_objects, job_routes
from tunesmith.server.dialects.fireworks.managed.bodies import id_in, read_members
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, taken
from tunesmith.server.dialects.fireworks.managed.job_kinds import AnyRequest, JobKind, new_job
from tunesmith.server.dialects.fireworks.managed.job_routes import Found, Kind, each
from tunesmith.server.dialects.fireworks.managed.lists import Listing, Mask, all_pages, masked
from tunesmith.server.dialects.fireworks.managed.speaking import speaking
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.secrets import Secrets
from tunesmith.services.trackers import KEYS

router = new_router()
WANDB_KEY = KEYS["wandb"]
"""The secret that holds a client's key, under the name that the library looks for."""


@each(router, "POST")
async def create(request: Request, owner: Owner, kind: Kind) -> Mapping[str, Any]:
    """Queue a job. A request that a client sends again because its answer was lost gives the job that it made."""
    members = await read_members(request)
    job_id = request.query_params.get(kind.id_parameter) or members.get(kind.id_parameter)
    if job_id is not None and not isinstance(job_id, str):
        raise UserError(kind.id_parameter, "is no text", "Use a-z, 0-9 and -, or leave it out")
    return await asyncio.to_thread(_create, request, owner, kind, kind.parse(members), job_id or None)


@each(router, "GET")
def list_all(request: Request, owner: Owner, kind: Kind, listing: Listing) -> Mapping[str, Any]:
    rows = {job_objects.name_of(job): job for job in all_pages(_jobs(request).page, owner=owner, kind=kind.kind)}
    bodies = [job_objects.brief(job) for job in rows.values()]
    return listing.page(kind.collection, bodies, lambda body: job_objects.body(request, rows[body["name"]]))


@each(router, "POST", "/{job_id}:cancel")
def cancel(request: Request, job: Found) -> Mapping[str, Any]:
    job_routes.cancel(_jobs(request), job)
    return {}


@each(router, "POST", "/{job_id}:resume")
def resume(request: Request, job: Found) -> Mapping[str, Any]:
    """It goes on after its last checkpoint."""
    return job_objects.body(request, _jobs(request).resume(job.owner, job.id))


@each(router, "GET", "/{job_id}:getMetricsFileEndpoint")
def metrics_file(request: Request, job: Found) -> Mapping[str, Any]:
    return {"signedUrl": job_routes.link_to(request, _jobs(request), job, "metrics.jsonl", "metrics")}


@each(router, "GET", "/{job_id}")
def get(request: Request, job: Found, read_mask: Mask = "") -> Mapping[str, Any]:
    return masked(job_objects.body(request, job), read_mask)


@each(router, "DELETE", "/{job_id}")
def delete(request: Request, job: Found) -> Mapping[str, Any]:
    """The job goes with all that it wrote; the model that it made stays."""
    _jobs(request).delete(job.owner, job.id)
    return {}


def _create(request: Request, owner: str, kind: JobKind, body: AnyRequest, job_id: str | None) -> Mapping[str, Any]:
    name = id_in(kind.id_parameter, owner, kind.collection, job_id) if job_id else None
    with speaking(kind.flat), taken(name, body.training.output_model):
        new = new_job(request, owner, kind, body, name)
        _keep_wandb_key(request.app.state.secrets, owner, body)
        key = request.headers.get("idempotency-key")
        return job_objects.body(
            request, _jobs(request).create(owner, new, idempotency_key=key, retry=is_retry(request))
        )


def _keep_wandb_key(secrets: Secrets, owner: str, body: AnyRequest) -> None:
    """
    Raises:
        UserError: Weights & Biases is wanted, and there is no key for it.
    """
    wandb = body.wandb_config
    if wandb.api_key:
        secrets.put(owner, WANDB_KEY, wandb.api_key)
    elif wandb.enabled and WANDB_KEY not in secrets.names(owner):
        raise UserError("wandb_config.api_key", "is missing", f"Send it, or keep it as the secret {WANDB_KEY}")


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs
