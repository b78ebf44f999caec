"""``/evaluationJobs``: what clients say of evaluations that they ran themselves. Nothing is run for them here."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import Field

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name, id_in, read
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, own_id, taken
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing, Mask, masked
from tunesmith.services.records import Record, Records

router = new_router()
JOBS = "/v1/accounts/{account}/evaluationJobs"
JOB = JOBS + "/{job_id}"
KEPT = ("evaluator", "inputDataset", "outputDataset", "displayName", "outputStats", "metrics", "awsS3Config")
NOTE = "recorded as it was sent; this server runs no evaluation jobs"


class Create(Wire):
    evaluation_job_id: str = ""
    evaluation_job: dict[str, Any] = Field(default_factory=dict)


@router.post(JOBS, response_model=None)
async def create(request: Request, owner: Owner, account: str) -> Mapping[str, Any]:
    """Evaluators and datasets are not looked up: clients name some that never were."""
    names.check_account(owner, account)
    body = await read(request, Create)
    wanted = own_id(
        "evaluationJobId", id_in("evaluationJobId", owner, "evaluationJobs", body.evaluation_job_id), "eval"
    )
    kept = {name: body.evaluation_job[name] for name in KEPT if body.evaluation_job.get(name) is not None}
    with taken():
        return _shown(owner, _records(request).create(owner, wanted, kept, retry=is_retry(request)))


@router.get(JOBS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    return listing.page("evaluationJobs", [_shown(owner, record) for record in _records(request).all(owner)])


@router.get(JOB + ":getExecutionLogEndpoint", response_model=None)
def log(request: Request, owner: Owner, account: str, job_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    _records(request).get(owner, job_id)
    raise NotFound(job_id, "has no log here: its evaluation ran where its client is", "Look at the client's output")


@router.get(JOB, response_model=None)
def get(request: Request, owner: Owner, account: str, job_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(_shown(owner, _records(request).get(owner, job_id)), read_mask)


@router.delete(JOB, response_model=None)
def delete(request: Request, owner: Owner, account: str, job_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    _records(request).delete(owner, job_id)
    return {}


def _records(request: Request) -> Records:
    records: Records = request.app.state.evaluation_jobs
    return records


def _shown(owner: str, record: Record) -> Body:
    return {
        "evaluator": "",
        "inputDataset": "",
        "outputDataset": "",
        **record.body,
        "name": full_name(owner, "evaluationJobs", record.id),
        "createTime": record.created_at,
        "updateTime": record.updated_at,
        "createdBy": owner,
        "state": "JOB_STATE_COMPLETED",
        "status": {"code": "OK", "message": NOTE},
    }
