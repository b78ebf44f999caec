"""``/evaluators``: a project or a single file that scores rollouts; built once, named by jobs as ``uploaded:<id>``."""

import asyncio
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import FileResponse

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.incoming import Digest, file_body, receive, sha256_of
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset
from tunesmith.server.files import StoredFile
from tunesmith.services.evaluator_rows import Evaluator, check_filename
from tunesmith.services.evaluators import Evaluators

router = new_router("evaluators")


@router.put(
    "/evaluators/{evaluator_id}",
    response_model=answers.Evaluator,
    openapi_extra=file_body("application/octet-stream"),
)
async def put_evaluator(
    request: Request,
    owner: Owner,
    evaluator_id: str,
    filename: Annotated[str, Query(description="Of one `.py` file, or of a `.tar.gz` of a project.")],
    entry_point: Annotated[str, Query(description="`file.py::function`; found by itself where there is one.")] = "",
    display_name: str = "",
    content_digest: Digest = None,
) -> Evaluator:
    """Take an evaluator and build it; look at it again until it is `ACTIVE` or `BUILD_FAILED`."""
    evaluators, wanted = _evaluators(request), sha256_of(content_digest)
    check_filename(filename)
    made = await asyncio.to_thread(_make, evaluators, owner, evaluator_id, entry_point, display_name)
    try:
        await receive(request, evaluators.upload(owner, evaluator_id, filename), wanted)
    except BaseException:
        if made:
            await asyncio.to_thread(evaluators.delete, owner, evaluator_id)
        raise
    await asyncio.to_thread(evaluators.start_build, owner, evaluator_id)
    return await asyncio.to_thread(evaluators.get, owner, evaluator_id)


@router.get("/evaluators", response_model=answers.Page[answers.Evaluator])
def list_evaluators(request: Request, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> dict[str, object]:
    """The newest first."""
    found, total = _evaluators(request).page(owner, limit=limit, offset=offset)
    return answers.page(found, total, offset)


@router.get("/evaluators/{evaluator_id}", response_model=answers.Evaluator)
def get_evaluator(request: Request, owner: Owner, evaluator_id: str) -> Evaluator:
    return _evaluators(request).get(owner, evaluator_id)


@router.get("/evaluators/{evaluator_id}/log", response_class=FileResponse)
def build_log(request: Request, owner: Owner, evaluator_id: str) -> FileResponse:
    """What its build said so far."""
    return StoredFile(_evaluators(request).log(owner, evaluator_id), media_type="text/plain; charset=utf-8")


@router.get("/evaluators/{evaluator_id}/source", response_class=FileResponse)
def download_source(request: Request, owner: Owner, evaluator_id: str) -> FileResponse:
    """The file as it was sent."""
    file = _evaluators(request).source(owner, evaluator_id)
    return StoredFile(file, media_type="application/octet-stream", filename=file.name)


@router.delete("/evaluators/{evaluator_id}", status_code=204)
def delete_evaluator(request: Request, owner: Owner, evaluator_id: str) -> None:
    """Refused while a job that has not ended uses it."""
    _evaluators(request).delete(owner, evaluator_id)


def _make(evaluators: Evaluators, owner: str, evaluator_id: str, entry_point: str, display_name: str) -> bool:
    """Whether it had to be made; one that is there takes another file and entry point."""
    try:
        evaluators.get(owner, evaluator_id)
    except NotFound:
        evaluators.create(owner, evaluator_id, entry_point=entry_point, display_name=display_name)
        return True
    evaluators.change(owner, evaluator_id, entry_point=entry_point)
    return False


def _evaluators(request: Request) -> Evaluators:
    evaluators: Evaluators = request.app.state.evaluators
    return evaluators
