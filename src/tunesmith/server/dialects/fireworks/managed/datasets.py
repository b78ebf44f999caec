"""``/datasets``: created, then filled by a form or by a signed address, and READY once every line was read."""

import asyncio
import tempfile
from collections.abc import Mapping
from typing import Annotated, Any, BinaryIO

from fastapi import Query, Request
from pydantic import Field

from tunesmith.core.errors import UserError
from tunesmith.server import files, openapi
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import uploads
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name, id_in, read, read_members
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, taken
from tunesmith.server.dialects.fireworks.managed.lists import Listing, Mask, all_pages, masked, without_empty
from tunesmith.server.dialects.multipart import read_form
from tunesmith.services.datasets import Dataset, Datasets

router = new_router()
DATASETS = "/v1/accounts/{account}/datasets"
DATASET = DATASETS + "/{dataset_id}"
KIND = "datasets"
"""Of uploads to a signed address."""
KEPT = (
    "exampleCount",
    "format",
    "evalProtocol",
    "userUploaded",
    "externalUrl",
    "splitted",
    "transformed",
    "evaluationResult",
    "sourceJobName",
)
"""What a client says of a dataset, to be shown again."""


class Create(Wire):
    dataset_id: Annotated[str, Field(min_length=1)]
    dataset: dict[str, Any] = Field(default_factory=dict)


@router.post(DATASETS, response_model=None)
async def create(request: Request, owner: Owner, account: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, Create)
    asked = {name: body.dataset[name] for name in KEPT if body.dataset.get(name) is not None}
    if asked.get("externalUrl"):
        problem = "names a file elsewhere, which this server does not fetch"
        raise UserError("dataset.externalUrl", problem, "Upload the file")
    with taken():
        made = _datasets(request).create(
            owner,
            id_in("datasetId", owner, "datasets", body.dataset_id),
            display_name=str(body.dataset.get("displayName") or ""),
            asked=asked,
            retry=is_retry(request),
        )
    return _shown(owner, made)


@router.get(DATASETS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    rows = all_pages(_datasets(request).page, owner=owner)
    return listing.page("datasets", [_shown(owner, row) for row in rows])


@router.post(DATASET + ":upload", response_model=None, openapi_extra=openapi.form("file", "purpose"))
async def upload(request: Request, owner: Owner, account: str, dataset_id: str) -> Mapping[str, Any]:
    """Take the file as the part ``file`` of a form, and check it."""
    names.check_account(owner, account)
    datasets = _datasets(request)
    _check_waits(datasets.get(owner, dataset_id))
    with tempfile.TemporaryFile(dir=request.app.state.settings.data_dir) as spool:
        most = request.app.state.settings.max_dataset_bytes
        form = await read_form(request.headers.get("content-type", ""), request.stream(), spool, most)
        if form.filename is None:
            raise UserError("file", "is missing", "Send the file as the part named file")
        made = await asyncio.to_thread(_keep, datasets, owner, dataset_id, spool)
        await asyncio.to_thread(_finish, datasets, owner, dataset_id)
    created = int(uploads.stamp(made.created_at))
    about = {"id": made.id, "object": "file", "bytes": made.num_bytes, "created_at": created}
    return {**about, "filename": form.filename, "purpose": "fine-tune"}


@router.post(DATASET + ":getUploadEndpoint", response_model=None)
async def upload_endpoint(request: Request, owner: Owner, account: str, dataset_id: str) -> Mapping[str, Any]:
    """An address for the file, to be sent with PUT and without a key."""
    names.check_account(owner, account)
    body = await read(request, uploads.Files)
    _check_waits(_datasets(request).get(owner, dataset_id))
    if len(body.filename_to_size) != 1:
        problem = f"names {len(body.filename_to_size)} files: a dataset is one"
        raise UserError("filenameToSize", problem, "Join them into one file, or make a dataset of each")
    return {"filenameToSignedUrls": uploads.addresses(request, KIND, owner, dataset_id, body.filename_to_size)}


@router.post(DATASET + ":validateUpload", response_model=None)
def validate_upload(request: Request, owner: Owner, account: str, dataset_id: str) -> Mapping[str, Any]:
    """Read every line; the dataset is READY, or refused with what is wrong."""
    names.check_account(owner, account)
    _finish(_datasets(request), owner, dataset_id)
    return {}


@router.get(DATASET + ":getDownloadEndpoint", response_model=None)
def download_endpoint(request: Request, owner: Owner, account: str, dataset_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    file = _datasets(request).file(owner, dataset_id)
    return {"filenameToSignedUrls": {file.name: files.link(request, file)}}


@router.get(DATASET, response_model=None)
def get(request: Request, owner: Owner, account: str, dataset_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(_shown(owner, _datasets(request).get(owner, dataset_id)), read_mask)


@router.patch(DATASET, response_model=None)
async def change(
    request: Request,
    owner: Owner,
    account: str,
    dataset_id: str,
    update_mask: Annotated[str, Query(alias="updateMask")] = "",
) -> Mapping[str, Any]:
    """What is said of a dataset; its file does not change."""
    names.check_account(owner, account)
    body = uploads.masked_update(await read_members(request), update_mask)
    old = _datasets(request).get(owner, dataset_id)
    asked = {**old.asked, **{name: body[name] for name in KEPT if name in body}}
    name = str(body.get("displayName", old.display_name) or "")
    return _shown(owner, _datasets(request).rename(owner, dataset_id, name, asked))


@router.delete(DATASET, response_model=None)
def delete(request: Request, owner: Owner, account: str, dataset_id: str) -> Mapping[str, Any]:
    """Refused while a job that has not ended uses it."""
    names.check_account(owner, account)
    _datasets(request).delete(owner, dataset_id)
    return {}


def _datasets(request: Request) -> Datasets:
    datasets: Datasets = request.app.state.datasets
    return datasets


def _check_waits(dataset: Dataset) -> None:
    """
    Raises:
        UserError: it has its file already.
    """
    if dataset.state == "READY":
        problem = "is READY: its file does not change any more"
        raise UserError(dataset.id, problem, "Create another dataset")


def _keep(datasets: Datasets, owner: str, dataset_id: str, spool: BinaryIO) -> Dataset:
    spool.seek(0)
    with datasets.upload(owner, dataset_id) as incoming:
        while piece := spool.read(uploads.PIECE_BYTES):
            incoming.write(piece)
    return datasets.get(owner, dataset_id)


def _finish(datasets: Datasets, owner: str, dataset_id: str) -> None:
    """
    Raises:
        UserError: lines that are not JSON objects; names the first.
    """
    made = datasets.finish(owner, dataset_id)
    if made.state != "READY":
        assert made.verdict is not None, "it was checked"
        raise UserError(dataset_id, made.verdict.refusal, made.verdict.mend)


def _shown(owner: str, row: Dataset) -> dict[str, Any]:
    failed = row.state == "FAILED" and row.verdict is not None
    ready = row.state == "READY" and row.verdict is not None
    asked = {name: row.asked[name] for name in KEPT if name in row.asked}
    count = str(row.verdict.rows) if ready and row.verdict is not None else asked.get("exampleCount")
    return without_empty(
        {
            **asked,
            "name": full_name(owner, "datasets", row.id),
            "displayName": row.display_name,
            "createTime": row.created_at,
            "updateTime": row.updated_at,
            "createdBy": owner,
            "state": "READY" if row.state == "READY" else "UPLOADING",
            "status": uploads.status(row.verdict.refusal if failed and row.verdict is not None else ""),
            "exampleCount": None if count is None else str(count),
            "format": asked.get("format", "FORMAT_UNSPECIFIED"),
        }
    )
