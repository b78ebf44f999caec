"""``/jobs``: create, list, look, stop, go on, clone and delete managed jobs."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Request

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import NewJob
from tunesmith.server.routing import reads_rows
from tunesmith.server.web import links
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.offspring import Offspring
from tunesmith.services.jobs.planning import split_of
from tunesmith.services.registry import EMBEDDED
from tunesmith.services.tuned_models import TunedModels
from tunesmith.spec import RftSpec
from tunesmith.spec.goals import GOALS

router = new_router("jobs")
Offset = Annotated[int, Query(ge=0, le=1 << 31)]
Limit = Annotated[int, Query(ge=1, le=200)]
Key = Annotated[str | None, Header(alias="idempotency-key", description="Stands for its job for 24 hours.")]


@router.post("/jobs", response_model=answers.Job)
async def create_job(request: Request, owner: Owner, idempotency_key: Key = None) -> Mapping[str, Any]:
    """Check everything that can be checked without the model, and queue the job.

    Beside the fields below, every setting of the kind's spec is a field of the body.
    """
    given = await read_json(request, NewJob)

    def make() -> Mapping[str, Any]:
        return shown(request, jobs_of(request).create(owner, given.job(), idempotency_key=idempotency_key))

    return await asyncio.to_thread(make)


@router.get("/jobs", response_model=answers.Page[answers.JobSummary])
@reads_rows
def list_jobs(
    request: Request,
    owner: Owner,
    kind: Literal["rft", "sft", "dpo"] | None = None,
    state: Annotated[list[str] | None, Query(description="Of these states; give it several times.")] = None,
    beginning: Annotated[str, Query(description="Those whose id or name begins so.")] = "",
    order: Literal["created_at", "updated_at", "name", "state"] = "created_at",
    descending: bool = True,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Mapping[str, Any]:
    """The key's own, of all wires."""
    found, total = jobs_of(request).page(
        owner,
        kind=kind,
        states=state or (),
        beginning=beginning,
        order=order,
        descending=descending,
        limit=limit,
        offset=offset,
    )
    return answers.page(found, total, offset)


@router.get("/jobs/{job_id}", response_model=answers.Job)
@reads_rows
def get_job(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """A job with how far it is and its latest metrics."""
    return shown(request, jobs_of(request).get(owner, job_id))


@router.get("/jobs/{job_id}/spec")
def get_spec(request: Request, owner: Owner, job_id: str) -> dict[str, Any]:
    """All settings with their defaults, in the words of the request."""
    job = jobs_of(request).get(owner, job_id)
    return in_names(jobs_of(request).spec(owner, job_id).model_dump(), job)


@router.post("/jobs/{job_id}/cancel", response_model=answers.Job)
def cancel_job(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """End it; one that runs is `cancelling` for at most a few seconds."""
    return shown(request, jobs_of(request).cancel(owner, job_id))


@router.post("/jobs/{job_id}/pause", response_model=answers.Job)
def pause_job(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """Let it rest after the step in hand."""
    return shown(request, jobs_of(request).pause(owner, job_id))


@router.post("/jobs/{job_id}/resume", response_model=answers.Job)
def resume_job(request: Request, owner: Owner, job_id: str) -> Mapping[str, Any]:
    """Queue a paused, cancelled or failed job again; it goes on after its last checkpoint."""
    return shown(request, jobs_of(request).resume(owner, job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def delete_job(request: Request, owner: Owner, job_id: str) -> None:
    """Remove a job with all that it wrote; the model that it made stays."""
    jobs_of(request).delete(owner, job_id)


def jobs_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def offspring_of(request: Request) -> Offspring:
    return Offspring(jobs_of(request))


def shown(request: Request, job: Job) -> Mapping[str, Any]:
    """A job with what its run folder and the tuned models say of it."""
    tuned: TunedModels = request.app.state.tuned_models
    jobs, made = jobs_of(request), tuned.get(job.owner, job.output_model)
    fields = {name: getattr(job, name) for name in answers.JobSummary.model_fields}
    return {
        **fields,
        "progress": jobs.progress_of(job),
        "metrics": next(jobs.folders.run(job.id).newest_metrics(), None),
        "model": made.name if made is not None and made.job_id == job.id else None,
        "page": links.of_job(job),
        "forks": [_as_fork(one) for one in offspring_of(request).forks(job.owner, job.id)],
    }


def _as_fork(job: Job) -> Mapping[str, Any]:
    assert job.origin is not None, "it is a fork"
    fields = {name: getattr(job, name) for name in ("id", "name", "state")}
    return {**fields, "step": job.origin.step, "changed": job.origin.changed}


def plan_of(request: Request, owner: str, given: NewJob) -> Mapping[str, Any]:
    """What a job would be, as far as its settings and datasets tell.

    Raises:
        UserError: as a creation would.
    """
    new = given.job()
    spec, warnings = jobs_of(request).check(owner, new)
    names = in_names(spec.model_dump(), new)
    rows = jobs_of(request).datasets.verdict(owner, new.dataset, new.kind).rows
    trained, held_out = split_of(spec, rows)
    steps = spec.num_steps(trained) if isinstance(spec, RftSpec) else None
    return {
        "kind": new.kind,
        "spec": names,
        "origins": {name: _origin(name, given) for name in names},
        "warnings": warnings,
        "rows": rows,
        "held_out": held_out,
        "steps": steps,
        "rollouts": trained * spec.epochs * spec.response_candidates_count if isinstance(spec, RftSpec) else None,
    }


def _origin(name: str, given: NewJob) -> str:
    if name in given.given:
        return "given"
    moved = "goal" in given.given and name in GOALS[given.settings["goal"]]
    return "goal" if moved else "default"


def in_names(spec: dict[str, Any], job: Any) -> dict[str, Any]:
    """Folders of the server are told by the names that they were asked for by."""
    names = {"dataset": job.dataset, "evaluation_dataset": job.evaluation_dataset}
    names |= {name: job.settings.get(name) for name in ("warm_start_from", "evaluator")}
    names["base_model"] = job.settings.get("base_model", EMBEDDED)
    return {name: names.get(name, value) for name, value in spec.items() if name != "output_dir"}
