"""``/dashboard/create/evaluator``: a grader that is written in the page, built, and taken into the draft of a job."""

import asyncio
import json
from itertools import chain, count, islice
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.core.errors import UserError
from tunesmith.server.web.draft import UPLOADED, Draft, draft_of
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import PREFIX, Seen, Visitor
from tunesmith.services.datasets import Datasets
from tunesmith.services.entry_points import entry_point_of
from tunesmith.services.evaluator_rows import Evaluator
from tunesmith.services.evaluators import Evaluators

router = new_router()
FILE = "grader.py"
PATIENCE_S = 20.0
"""Until a build that goes on is shown on the page of the evaluator."""
LOOK_S = 0.2
EXAMPLE = '''def grade(completion, row):
    """From 0 to 1: steps in between teach most."""
    answer = str(row["ground_truth"])
    if completion.strip() == answer:
        return 1.0
    return 0.5 if answer in completion else 0.0
'''


@router.get("/create/evaluator")
def write(request: Request, visitor: Seen, edit: str = "") -> Response:
    evaluators, draft = _evaluators(request), draft_of(request.query_params.multi_items())
    if edit:
        return _page(request, visitor, draft, edit, _source(evaluators, visitor.owner, edit), edit)
    return _page(request, visitor, draft, _free_name(evaluators, visitor.owner), EXAMPLE, "")


@router.post("/create/evaluator")
async def build(request: Request, visitor: Seen, form: Form) -> Response:
    """Keep and build it; what is refused leads back to the text."""
    evaluators, draft = _evaluators(request), draft_of(form.pairs)
    name, source, edit = (form.fields.get(field, "") for field in ("name", "source", "edit"))
    name = name.strip()
    try:
        await asyncio.to_thread(_keep, evaluators, form.owner, name, source, edit == name)
        built = await _built(evaluators, form.owner, name)
    except UserError as e:
        return await asyncio.to_thread(_page, request, visitor, draft, name, source, edit, str(e))
    if built.state == "BUILD_FAILED":
        return await asyncio.to_thread(_page, request, visitor, draft, name, source, name, built.reason)
    if built.state == "ACTIVE" and draft.dataset:
        return RedirectResponse(draft.with_evaluator(UPLOADED + name).href("grader"), 303, HEADERS)
    return RedirectResponse(f"{PREFIX}/evaluators/{name}", 303, HEADERS)


def _keep(evaluators: Evaluators, owner: str, name: str, source: str, again: bool) -> None:
    """Take the text as an upload would be, in place of the one before where it is written again, and build it."""
    entry = entry_point_of(FILE, source)
    if again:
        evaluators.change(owner, name, entry_point=entry)
    else:
        evaluators.create(owner, name, entry_point=entry)
    with evaluators.upload(owner, name, FILE) as incoming:
        incoming.write(source.encode())
    evaluators.start_build(owner, name)


async def _built(evaluators: Evaluators, owner: str, name: str) -> Evaluator:
    """The evaluator when its build has ended, or when nobody should wait longer."""
    for _ in range(int(PATIENCE_S / LOOK_S)):
        evaluator = await asyncio.to_thread(evaluators.get, owner, name)
        if evaluator.state != "BUILDING":
            break
        await asyncio.sleep(LOOK_S)
    return evaluator


def _page(
    request: Request, visitor: Visitor, draft: Draft, name: str, source: str, edit: str, refused: str = ""
) -> Response:
    view: dict[str, Any] = {"draft": draft, "name": name, "source": source, "edit": edit, "refused": refused}
    row = _first_row(request, visitor.owner, draft.dataset)
    return page(request, "write_evaluator.html", visitor, 400 if refused else 200, **view, row=row)


def _free_name(evaluators: Evaluators, owner: str) -> str:
    taken = {evaluator.id for evaluator in evaluators.page(owner, limit=200)[0]}
    names = chain(["my-grader"], (f"my-grader-{i}" for i in count(2)))
    return next(name for name in names if name not in taken)


def _source(evaluators: Evaluators, owner: str, name: str) -> str:
    file = evaluators.source(owner, name)
    if file.suffix != ".py":
        raise UserError(name, "is a project of several files", "Download its source, change it, and upload it anew")
    return file.read_text("utf-8", errors="replace")


def _first_row(request: Request, owner: str, dataset: str) -> str:
    """What ``row`` holds, from the dataset that was chosen; empty without one."""
    datasets: Datasets = request.app.state.datasets
    if not dataset:
        return ""
    try:
        with datasets.file(owner, dataset).open(encoding="utf-8", errors="replace") as lines:
            row = json.loads(next(islice(lines, 1), "{}"))
    except (UserError, ValueError):
        return ""
    return json.dumps(row, indent=1, ensure_ascii=False)[:2000] if row else ""


def _evaluators(request: Request) -> Evaluators:
    evaluators: Evaluators = request.app.state.evaluators
    return evaluators
