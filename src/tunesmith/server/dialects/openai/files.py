"""``/files``: datasets as OpenAI's clients see them, and the metrics of jobs as files to read."""

import asyncio
import csv
import io
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from secrets import token_hex
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.server import openapi
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.multipart import Form, read_form
from tunesmith.server.dialects.openai import listing
from tunesmith.server.dialects.openai.envelope import new_router
from tunesmith.server.files import StoredFile
from tunesmith.services.datasets import Dataset, Datasets
from tunesmith.services.jobs.jobs import Jobs

router = new_router()
PURPOSES = ("fine-tune", "evals")
"""What files are for here: both are lines of JSON."""
STATUSES = {"UPLOADING": "uploaded", "READY": "processed", "FAILED": "error"}
RESULTS = "file-results-"
"""Before the end of a job's id: the file of its metrics."""
COPY_BYTES = 1 << 20


@router.post("/files", response_model=None, openapi_extra=openapi.form("file", "purpose"))
async def create(request: Request, owner: Owner) -> Mapping[str, Any]:
    """Take a file; one that is not JSON lines is refused with the line, and not kept."""
    folder = request.app.state.settings.data_dir
    # Beside the datasets, because the folder for temporary files may be small.
    with tempfile.TemporaryFile(dir=folder) as spool:
        most = request.app.state.settings.max_dataset_bytes
        form = await read_form(request.headers.get("content-type", ""), request.stream(), spool, most)
        _check(form)
        spool.seek(0)
        named = (f"file-{token_hex(12)}", clean(form.filename or ""), form.fields["purpose"])
        pieces = iter(lambda: spool.read(COPY_BYTES), b"")
        return body(await asyncio.to_thread(keep, request, owner, *named, pieces))


@router.get("/files", response_model=None)
def files(
    request: Request,
    owner: Owner,
    purpose: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=listing.MOST)] = listing.MOST,
) -> Mapping[str, Any]:
    rows, _ = _datasets(request).page(owner, newest_first=order == "desc", limit=listing.MOST)
    wanted = [row for row in rows if purpose in (None, _purpose(row))]
    return listing.page(wanted, lambda row: row.id, body, after, limit)


@router.get("/files/{file_id}", response_model=None)
def file(request: Request, owner: Owner, file_id: str) -> Mapping[str, Any]:
    if file_id.startswith(RESULTS):
        return _results_body(request, owner, file_id)
    return body(_datasets(request).get(owner, file_id))


@router.delete("/files/{file_id}", response_model=None)
def delete(request: Request, owner: Owner, file_id: str) -> Mapping[str, Any]:
    """Refused while a job that has not ended uses it."""
    if file_id.startswith(RESULTS):
        _table(request, owner, file_id)
        raise UserError("file_id", f"{file_id} belongs to its job", "It goes when the job is deleted")
    _datasets(request).delete(owner, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@router.get("/files/{file_id}/content", response_model=None)
def content(request: Request, owner: Owner, file_id: str) -> Response:
    if file_id.startswith(RESULTS):
        return Response(_table(request, owner, file_id), media_type="text/csv")
    return StoredFile(_datasets(request).file(owner, file_id), media_type="application/jsonl")


def results_of(job_id: str) -> str:
    """The id of the file of a job's metrics."""
    return RESULTS + job_id.removeprefix("job-")


def _datasets(request: Request) -> Datasets:
    datasets: Datasets = request.app.state.datasets
    return datasets


def clean(filename: str) -> str:
    """A name that is shown and nothing else."""
    return "".join(c for c in filename if c.isprintable())[:200]


def check_purpose(purpose: str) -> None:
    """
    Raises:
        UserError: one that this server has not.
    """
    if purpose not in PURPOSES:
        raise unknown("purpose", purpose[:100], PURPOSES)


def keep(request: Request, owner: str, file_id: str, filename: str, purpose: str, pieces: Iterable[bytes]) -> Dataset:
    """A READY dataset of a file.

    Raises:
        UserError: it is empty, or a line is no JSON object.
    """
    datasets = _datasets(request)
    datasets.create(owner, file_id, display_name=filename, asked={"filename": filename, "purpose": purpose})
    try:
        with datasets.upload(owner, file_id) as incoming:
            for piece in pieces:
                incoming.write(piece)
        made = datasets.finish(owner, file_id)
        if made.state != "READY":
            assert made.verdict is not None, "it was checked"
            raise UserError("file", made.verdict.refusal, made.verdict.mend)
    except BaseException:
        datasets.delete(owner, file_id)
        raise
    return made


def _check(form: Form) -> None:
    """
    Raises:
        UserError: a form without a file, a field that is not known here, or a purpose that this server has not.
    """
    if form.filename is None:
        raise UserError("file", "is missing", "Send the file as the part named file")
    if other := next((name for name in form.fields if name != "purpose"), None):
        raise UserError(
            other[:100], "is not supported by this server", "Leave it out: files stay until they are deleted"
        )
    if "purpose" not in form.fields:
        raise UserError("purpose", "is missing", f"Give one of {', '.join(PURPOSES)}")
    check_purpose(form.fields["purpose"])


def _purpose(row: Dataset) -> str:
    """Datasets that came over another wire are for training too."""
    return str(row.asked.get("purpose", PURPOSES[0]))


def body(row: Dataset) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.num_bytes,
        "created_at": int(datetime.fromisoformat(row.created_at).timestamp()),
        "filename": row.asked.get("filename") or row.display_name or f"{row.id}.jsonl",
        "purpose": _purpose(row),
        "status": STATUSES[row.state],
        "status_details": row.verdict.refusal or None if row.verdict is not None else None,
        "expires_at": None,
    }


def _table(request: Request, owner: str, file_id: str) -> bytes:
    """The metrics of an ended job, a row per step.

    Raises:
        NotFound: no such job, or it has no metrics.
    """
    jobs: Jobs = request.app.state.jobs
    lines = jobs.metrics(owner, f"job-{file_id.removeprefix(RESULTS)}")
    if not lines:
        raise NotFound(file_id, "the job has no metrics yet", "Wait until its first step is done")
    names = ["step", *sorted({name for line in lines for name in line} - {"step"})]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _results_body(request: Request, owner: str, file_id: str) -> dict[str, Any]:
    jobs: Jobs = request.app.state.jobs
    table = _table(request, owner, file_id)
    job = jobs.get(owner, f"job-{file_id.removeprefix(RESULTS)}")
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(table),
        "created_at": int(datetime.fromisoformat(job.updated_at).timestamp()),
        "filename": "step_metrics.csv",
        "purpose": "fine-tune-results",
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
