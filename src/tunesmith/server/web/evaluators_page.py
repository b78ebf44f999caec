"""``/dashboard/evaluators``: graders that come with Tunesmith, and those that were uploaded, with their builds."""

import asyncio
from collections.abc import Hashable

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from tunesmith.core.errors import UserError
from tunesmith.grading import GRADERS
from tunesmith.server.web.forms import Form
from tunesmith.server.web.live import stream
from tunesmith.server.web.pages import HEADERS, fragment, new_router, page
from tunesmith.server.web.uploads import id_of_file, uploaded
from tunesmith.server.web.visitor import PREFIX, Seen
from tunesmith.services.entry_points import entry_point_of
from tunesmith.services.evaluators import Evaluators

router = new_router()
MOST = 200
LOG_BYTES = 64 << 10
MOST_READ = 1 << 20
"""Of a single file, to find the function that scores."""


@router.get("/evaluators")
def list_evaluators(request: Request, visitor: Seen) -> Response:
    rows, _ = _evaluators(request).page(visitor.owner, limit=MOST)
    return page(request, "evaluators.html", visitor, rows=rows, graders=GRADERS)


@router.post("/evaluators")
async def upload_evaluator(request: Request, visitor: Seen) -> Response:
    """Take a file or a project, and build it."""
    evaluators = _evaluators(request)
    async with uploaded(request, visitor) as upload:
        fields = upload.form.fields
        name = fields.get("name", "").strip() or id_of_file(upload.filename)
        entry = fields.get("entry_point", "").strip()
        if not entry and upload.filename.endswith(".py"):
            upload.file.seek(0)
            entry = entry_point_of(upload.filename, upload.file.read(MOST_READ).decode("utf-8", "replace"))
        await asyncio.to_thread(lambda: evaluators.create(visitor.owner, name, entry_point=entry))
        try:
            with evaluators.upload(visitor.owner, name, upload.filename) as incoming:
                await upload.copy_to(incoming)
        except BaseException:
            await asyncio.to_thread(evaluators.delete, visitor.owner, name)
            raise
    await asyncio.to_thread(evaluators.start_build, visitor.owner, name)
    return RedirectResponse(f"{PREFIX}/evaluators/{name}", 303, HEADERS)


@router.get("/evaluators/{name}")
def evaluator_page(request: Request, visitor: Seen, name: str) -> Response:
    evaluators = _evaluators(request)
    row = evaluators.get(visitor.owner, name)
    text = row.uploaded and evaluators.source(visitor.owner, name).suffix == ".py"
    return page(request, "evaluator.html", visitor, row=row, log=_log(request, visitor, name), text=text)


@router.get("/evaluators/{name}/live")
async def live_evaluator(request: Request, visitor: Seen, name: str) -> Response:
    def look() -> dict[str, str]:
        row = _evaluators(request).get(visitor.owner, name)
        return {"build": fragment("evaluator_build.html", row=row, log=_log(request, visitor, name))}

    def key() -> Hashable:
        row = _evaluators(request).get(visitor.owner, name)
        return row.updated_at, _log(request, visitor, name)

    await asyncio.to_thread(key)
    return stream(request, key, look)


@router.get("/evaluators/{name}/source")
def source(request: Request, visitor: Seen, name: str) -> Response:
    file = _evaluators(request).source(visitor.owner, name)
    return FileResponse(file, media_type="application/octet-stream", filename=file.name, headers=HEADERS)


@router.post("/evaluators/{name}/delete")
async def delete_evaluator(request: Request, form: Form, name: str) -> Response:
    await asyncio.to_thread(_evaluators(request).delete, form.owner, name)
    return RedirectResponse(f"{PREFIX}/evaluators", 303, HEADERS)


def _log(request: Request, visitor: Seen, name: str) -> str:
    try:
        file = _evaluators(request).log(visitor.owner, name)
    except UserError as e:
        return str(e)
    return file.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace")


def _evaluators(request: Request) -> Evaluators:
    evaluators: Evaluators = request.app.state.evaluators
    return evaluators
