"""``/dashboard/datasets``: files that jobs train on, what is wrong with them, and how a model reads them."""

import asyncio
from dataclasses import dataclass
from itertools import islice

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from tunesmith.core.errors import UserError
from tunesmith.server.web import links
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.uploads import take_dataset, uploaded
from tunesmith.server.web.visitor import PREFIX, Seen
from tunesmith.services.datasets import Dataset, Datasets, Verdict
from tunesmith.services.preview import PreviewRow, preview
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.renderers import Renderers

router = new_router()
MOST_ROWS = 200
PREVIEW_ROWS = 5
SHOWN_PROBLEMS = 200


@dataclass(frozen=True, slots=True)
class Previewed:
    """The first rows as a model reads them, or why they cannot be shown."""

    rows: list[PreviewRow]
    problem: str


@router.get("/datasets")
def list_datasets(request: Request, visitor: Seen) -> Response:
    rows, total = _datasets(request).page(visitor.owner, limit=MOST_ROWS)
    return page(request, "datasets.html", visitor, rows=rows, total=total)


@router.post("/datasets")
async def upload_dataset(request: Request, visitor: Seen) -> Response:
    """Take a file, check it, and show what was found."""
    async with uploaded(request, visitor) as upload:
        dataset_id = await take_dataset(_datasets(request), upload, upload.form.fields.get("kind", ""))
    return RedirectResponse(links.of_dataset(dataset_id), 303, HEADERS)


@router.get("/datasets/{dataset_id}")
def dataset_page(request: Request, visitor: Seen, dataset_id: str, kind: str = "", model: str = EMBEDDED) -> Response:
    datasets = _datasets(request)
    dataset = datasets.get(visitor.owner, dataset_id)
    kind = kind if kind in links.SLUGS else dataset.kind
    return page(
        request,
        "dataset.html",
        visitor,
        dataset=dataset,
        kind=kind,
        model=model,
        models=model_names(request),
        verdict=verdict_of(datasets, dataset, kind),
        preview=preview_of(request, dataset, kind, model),
        most=SHOWN_PROBLEMS,
    )


@router.get("/datasets/{dataset_id}/content")
def download_dataset(request: Request, visitor: Seen, dataset_id: str) -> Response:
    file = _datasets(request).file(visitor.owner, dataset_id)
    return FileResponse(file, media_type="application/jsonl", filename=f"{dataset_id}.jsonl", headers=HEADERS)


@router.post("/datasets/{dataset_id}/delete")
async def delete_dataset(request: Request, form: Form, dataset_id: str) -> Response:
    await asyncio.to_thread(_datasets(request).delete, form.owner, dataset_id)
    return RedirectResponse(f"{PREFIX}/datasets", 303, HEADERS)


def verdict_of(datasets: Datasets, dataset: Dataset, kind: str) -> Verdict | None:
    """What a check for a kind of job found; None where there is nothing to check yet."""
    if dataset.state == "READY" and kind:
        return datasets.verdict(dataset.owner, dataset.id, kind)
    return dataset.verdict


def preview_of(request: Request, dataset: Dataset, kind: str, model: str) -> Previewed | None:
    if dataset.state != "READY" or not kind:
        return None
    renderers: Renderers = request.app.state.renderers
    try:
        file = _datasets(request).file(dataset.owner, dataset.id)
        return Previewed(list(islice(preview(file, kind, renderers.of(model), PREVIEW_ROWS), 2 * PREVIEW_ROWS)), "")
    except UserError as e:
        # The place is a file of the server's own.
        return Previewed([], f"{e.problem}. {e.mend}")


def model_names(request: Request) -> list[str]:
    """Base models that a job may train."""
    registry: Registry = request.app.state.registry
    return [model.name for model in registry.models()]


def _datasets(request: Request) -> Datasets:
    datasets: Datasets = request.app.state.datasets
    return datasets
