"""Evaluators: projects that are uploaded, built, and named by jobs."""

from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.lists import Listing, all_pages
from tunesmith.server.files import link
from tunesmith.server.signed import upload_link
from tunesmith.services.evaluator_rows import Evaluator, check_filename
from tunesmith.services.evaluators import Evaluators

router = new_router()
KIND = "evaluators"
"""Of uploads to a signed address."""
ROOT = "/v1/accounts/{account}"
ONE = ROOT + "/evaluators/{evaluator_id}"


class Body(BaseModel):
    """Fields we do not know are kept and shown again: older and newer clients send others."""

    model_config = ConfigDict(extra="allow")


class EvaluatorBody(Body):
    displayName: str = ""
    entryPoint: str = ""


class Change(Body):
    displayName: str | None = None
    entryPoint: str | None = None


class Create(Body):
    evaluatorId: str
    evaluator: EvaluatorBody = EvaluatorBody()


class Files(Body):
    filenameToSize: dict[str, str | int]


@router.post(ROOT + "/evaluatorsV2")
@router.post(ROOT + "/evaluators")
def create(request: Request, owner: Owner, account: str, body: Create) -> dict[str, Any]:
    names.check_account(owner, account)
    given, retry = body.evaluator, request.headers.get("x-stainless-retry-count", "0") != "0"
    made = _evaluators(request).create(
        owner,
        body.evaluatorId,
        entry_point=given.entryPoint,
        display_name=given.displayName,
        asked=given.model_dump(),
        retry=retry,
    )
    return shown(made)


@router.get(ROOT + "/evaluators")
def evaluators(request: Request, owner: Owner, account: str, wanted: Listing) -> dict[str, Any]:
    names.check_account(owner, account)
    return wanted.page("evaluators", [shown(row) for row in all_pages(_evaluators(request).page, owner=owner)])


@router.get(ONE + ":getBuildLogEndpoint")
def build_log(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    names.check_account(owner, account)
    return {"buildLogSignedUri": link(request, _evaluators(request).log(owner, evaluator_id))}


@router.get(ONE + ":getSourceCodeSignedUrl")
def source_code(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    names.check_account(owner, account)
    file = _evaluators(request).source(owner, evaluator_id)
    return {"filenameToSignedUrls": {file.name: link(request, file)}}


@router.post(ONE + ":getUploadEndpoint")
def upload_endpoint(request: Request, owner: Owner, account: str, evaluator_id: str, body: Files) -> dict[str, Any]:
    names.check_account(owner, account)
    _evaluators(request).get(owner, evaluator_id)
    for name in body.filenameToSize:
        check_filename(name)
    urls = {name: upload_link(request, KIND, owner, evaluator_id, name) for name in body.filenameToSize}
    return {"filenameToSignedUrls": urls}


@router.post(ONE + ":validateUpload")
async def validate_upload(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    """The upload is complete: build it."""
    names.check_account(owner, account)
    _evaluators(request).start_build(owner, evaluator_id)
    return {}


@router.get(ONE)
def evaluator(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    names.check_account(owner, account)
    return shown(_evaluators(request).get(owner, evaluator_id))


@router.patch(ONE)
async def change(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    """Another name or entry point; a new entry point is built when ``:validateUpload`` is called again."""
    names.check_account(owner, account)
    body = await read_json(request, Change)
    changed = _evaluators(request).change(
        owner,
        evaluator_id,
        display_name=body.displayName,
        entry_point=body.entryPoint,
        asked=body.model_dump(exclude_unset=True),
    )
    return shown(changed)


@router.delete(ONE)
def delete(request: Request, owner: Owner, account: str, evaluator_id: str) -> dict[str, Any]:
    """Refused while a job that has not ended uses it."""
    names.check_account(owner, account)
    _evaluators(request).delete(owner, evaluator_id)
    return {}


def shown(row: Evaluator) -> dict[str, Any]:
    """The request again, and where its build stands."""
    code = "INVALID_ARGUMENT" if row.state == "BUILD_FAILED" else "OK"
    return {
        **row.asked,
        "name": f"accounts/{names.account_of(row.owner)}/evaluators/{row.id}",
        "displayName": row.display_name,
        "entryPoint": row.entry_point,
        "createTime": row.created_at,
        "updateTime": row.updated_at,
        "createdBy": row.owner,
        "state": row.state,
        "status": {"code": code, "message": row.reason},
    }


def _evaluators(request: Request) -> Evaluators:
    evaluators: Evaluators = request.app.state.evaluators
    return evaluators
