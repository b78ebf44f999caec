"""``/datasets``: a file is sent in one request, checked, and kept unchanged while jobs use it."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import FileResponse

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.incoming import Digest, file_body, receive, sha256_of
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset
from tunesmith.server.files import StoredFile
from tunesmith.server.routing import reads_rows
from tunesmith.services.datasets import Dataset, Datasets
from tunesmith.services.preview import preview
from tunesmith.services.registry import EMBEDDED
from tunesmith.services.renderers import Renderers

router = new_router("datasets")
Kind = Literal["rft", "sft", "dpo"]


@router.put("/datasets/{dataset_id}", response_model=answers.Dataset, openapi_extra=file_body("application/jsonl"))
async def put_dataset(
    request: Request,
    owner: Owner,
    dataset_id: str,
    kind: Annotated[Kind | None, Query(description="What it is for: every line is then checked as such.")] = None,
    display_name: str = "",
    content_digest: Digest = None,
) -> Dataset:
    """Take a file of JSON lines and check it: the answer is READY, or FAILED with every problem.

    An upload that failed or was cut off can be sent again; the file of a READY dataset never changes.
    """
    datasets, wanted = datasets_of(request), sha256_of(content_digest)
    made = await asyncio.to_thread(_make, datasets, owner, dataset_id, kind or "", display_name)
    try:
        await receive(request, datasets.upload(owner, dataset_id), wanted)
    except BaseException:
        if made:
            await asyncio.to_thread(datasets.withdraw, owner, dataset_id)
        raise
    return await asyncio.to_thread(datasets.finish, owner, dataset_id)


@router.get("/datasets", response_model=answers.Page[answers.Dataset])
@reads_rows
def list_datasets(
    request: Request,
    owner: Owner,
    state: Annotated[list[str] | None, Query(description="Of these states; give it several times.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """The newest first."""
    found, total = datasets_of(request).page(owner, states=state or (), limit=limit, offset=offset)
    return answers.page(found, total, offset)


@router.get("/datasets/{dataset_id}", response_model=answers.Dataset)
@reads_rows
def get_dataset(request: Request, owner: Owner, dataset_id: str) -> Dataset:
    return datasets_of(request).get(owner, dataset_id)


@router.delete("/datasets/{dataset_id}", status_code=204)
def delete_dataset(request: Request, owner: Owner, dataset_id: str) -> None:
    """Refused while a job that has not ended uses it."""
    datasets_of(request).delete(owner, dataset_id)


@router.get("/datasets/{dataset_id}/check", response_model=answers.Verdict)
def check_dataset(request: Request, owner: Owner, dataset_id: str, kind: Kind) -> Any:
    """Whether a READY dataset serves a kind of job, with every problem."""
    return datasets_of(request).verdict(owner, dataset_id, kind)


@router.get("/datasets/{dataset_id}/preview", response_model=answers.Preview)
def preview_dataset(
    request: Request,
    owner: Owner,
    dataset_id: str,
    kind: Kind,
    base_model: Annotated[str, Query(description="Whose template and tokenizer render the rows.")] = EMBEDDED,
    rows: Annotated[int, Query(ge=1, le=50)] = 3,
) -> dict[str, Any]:
    """Rows as the model reads them, and what of them is trained."""
    renderers: Renderers = request.app.state.renderers
    renderer = renderers.of(base_model)
    items = list(preview(datasets_of(request).file(owner, dataset_id), kind, renderer, rows))
    return {"items": items, "notes": list(renderer.notes)}


@router.get("/datasets/{dataset_id}/content", response_class=FileResponse)
def download_dataset(request: Request, owner: Owner, dataset_id: str) -> FileResponse:
    """The file as it was sent."""
    file = datasets_of(request).file(owner, dataset_id)
    return StoredFile(file, media_type="application/jsonl", filename=f"{dataset_id}.jsonl")


def datasets_of(request: Request) -> Datasets:
    datasets: Datasets = request.app.state.datasets
    return datasets


def _make(datasets: Datasets, owner: str, dataset_id: str, kind: str, display_name: str) -> bool:
    """Whether it had to be made: one that still waits for a good file takes this one."""
    try:
        datasets.get(owner, dataset_id)
    except NotFound:
        datasets.create(owner, dataset_id, display_name=display_name, kind=kind)
        return True
    return False
