"""``/evaluationJobs``: a dataset graded here, or what a client says of an evaluation that it ran itself.

Clients that ran one name an evaluator and a dataset called ``dummy``: these are kept as they were sent.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import Field

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import job_objects, job_routes
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name, id_in, read
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, own_id, taken
from tunesmith.server.dialects.fireworks.managed.job_kinds import evaluator_of
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing, Mask, all_pages, masked, without_empty
from tunesmith.server.dialects.fireworks.managed.rft_request import Sampling
from tunesmith.services.jobs.evaluations import output_of
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.records import Record, Records

router = new_router()
JOBS = "/v1/accounts/{account}/evaluationJobs"
JOB = JOBS + "/{job_id}"
COLLECTION, DUMMY = "evaluationJobs", "dummy"
KEPT = ("evaluator", "inputDataset", "outputDataset", "displayName", "outputStats", "metrics", "awsS3Config")
NOTE = "recorded as it was sent: a client ran this evaluation"


class Evaluation(Wire):
    """What is to be graded. ``model`` and ``inferenceParameters`` are this server's own."""

    evaluator: str = ""
    input_dataset: str = ""
    output_dataset: str = ""
    display_name: str = ""
    model: str = ""
    """Whose attempts are graded; without one, the answers at the end of the rows' messages are."""
    inference_parameters: Sampling = Sampling()


class Create(Wire):
    evaluation_job_id: str = ""
    evaluation_job: dict[str, Any] = Field(default_factory=dict)


@router.post(JOBS, response_model=None)
async def create(request: Request, owner: Owner, account: str) -> Mapping[str, Any]:
    """Queue an evaluation; one of ``dummy`` parts is kept as it was sent."""
    names.check_account(owner, account)
    body = await read(request, Create)
    wanted = own_id("evaluationJobId", id_in("evaluationJobId", owner, COLLECTION, body.evaluation_job_id), "eval")
    asked = Evaluation.model_validate(body.evaluation_job)
    if asked.evaluator.rpartition("/")[2] != DUMMY:
        return await asyncio.to_thread(_create, request, owner, asked, wanted)
    kept = {name: body.evaluation_job[name] for name in KEPT if body.evaluation_job.get(name) is not None}
    with taken():
        return _recorded(owner, _records(request).create(owner, wanted, kept, retry=is_retry(request)))


@router.get(JOBS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    jobs = [_shown(request, job) for job in all_pages(_jobs(request).page, owner=owner, kind=EVALUATION)]
    return listing.page(COLLECTION, [*jobs, *(_recorded(owner, record) for record in _records(request).all(owner))])


def found(request: Request, owner: Owner, account: str, job_id: str) -> Job | Record:
    """What an address names.

    Raises:
        NotFound: the owner has neither a job nor a record of that name.
    """
    names.check_account(owner, account)
    record = _records(request).find(owner, job_id)
    return record if record is not None else _jobs(request).find(owner, EVALUATION, job_id)


Found = Annotated[Job | Record, Depends(found)]


@router.get(JOB + ":getExecutionLogEndpoint", response_model=None)
def log(request: Request, job: Found) -> Mapping[str, Any]:
    if isinstance(job, Record):
        raise NotFound(job.id, "has no log here: its evaluation ran where its client is", "Look at the client's output")
    link = job_routes.link_to(request, _jobs(request), job, "log.txt", "log")
    return {"executionLogSignedUri": link, "contentType": "text/plain"}


@router.post(JOB + ":cancel", response_model=None)
def cancel(request: Request, job: Found) -> Mapping[str, Any]:
    if isinstance(job, Record):
        raise UserError(job.id, "cannot cancel job in state: JOB_STATE_COMPLETED", "Leave it: it was only recorded")
    job_routes.cancel(_jobs(request), job)
    return {}


@router.get(JOB, response_model=None)
def get(request: Request, owner: Owner, job: Found, read_mask: Mask = "") -> Mapping[str, Any]:
    return masked(_recorded(owner, job) if isinstance(job, Record) else _shown(request, job), read_mask)


@router.delete(JOB, response_model=None)
def delete(request: Request, owner: Owner, job: Found) -> Mapping[str, Any]:
    """The job goes; the dataset of its results stays."""
    (_records(request) if isinstance(job, Record) else _jobs(request)).delete(owner, job.id)
    return {}


def _create(request: Request, owner: str, asked: Evaluation, name: str) -> Body:
    output = id_in("output_dataset", owner, "datasets", asked.output_dataset) or output_of(name)
    settings: Body = {"evaluator": evaluator_of(request, owner, asked.evaluator), "output_dataset": output}
    settings |= asked.inference_parameters.settings()
    if asked.model:
        settings |= {"eval_samples": 1, "model": names.served_model(request.app.state.registry, owner, asked.model)}
    if (samples := settings.pop("response_candidates_count", None)) is not None:
        settings["eval_samples"] = samples
    dataset = id_in("input_dataset", owner, "datasets", asked.input_dataset)
    kept = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
    new = NewJob(EVALUATION, settings, dataset, None, name, asked.display_name, None, kept)
    with taken(name, output):
        if _records(request).find(owner, name) is not None:
            raise Conflict(name, "is the id of an evaluation job already", "Choose another, or delete that one")
        key = request.headers.get("idempotency-key")
        return _shown(request, _jobs(request).create(owner, new, idempotency_key=key, retry=is_retry(request)))


def _shown(request: Request, job: Job) -> Body:
    jobs = _jobs(request)
    card, progress = jobs.run(job.owner, job.id).card(), jobs.progress(job.owner, job.id)
    metrics: Body = {name: card[name] for name in ("reward_mean", "rows", "attempts", "failed_share") if name in card}
    if card.get("reward_ci95"):
        metrics |= dict(zip(("reward_low", "reward_high"), card["reward_ci95"], strict=True))
    failed = job.state == "failed"
    return without_empty(
        {
            **job.asked,
            "name": full_name(job.owner, COLLECTION, job.name),
            "displayName": job.display_name,
            "createTime": job.created_at,
            "updateTime": job.updated_at,
            "createdBy": job.owner,
            "state": job_objects.STATES[job.state],
            "status": {"code": "INVALID_ARGUMENT" if failed else "OK", "message": job.reason},
            "inputDataset": full_name(job.owner, "datasets", job.dataset),
            "outputDataset": full_name(job.owner, "datasets", str(job.settings["output_dataset"])),
            "jobProgress": {"percent": progress.percent},
            "metrics": metrics or None,
            "outputStats": json.dumps(card) if card else None,
        }
    )


def _recorded(owner: str, record: Record) -> Body:
    return {
        "evaluator": "",
        "inputDataset": "",
        "outputDataset": "",
        **record.body,
        "name": full_name(owner, COLLECTION, record.id),
        "createTime": record.created_at,
        "updateTime": record.updated_at,
        "createdBy": owner,
        "state": "JOB_STATE_COMPLETED",
        "status": {"code": "OK", "message": NOTE},
    }


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.evaluations
    return jobs


def _records(request: Request) -> Records:
    records: Records = request.app.state.evaluation_jobs
    return records
