"""``/dashboard/deployments``: names under which models answer."""

import asyncio

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.server.web import links
from tunesmith.server.web.datasets_page import model_names
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import PREFIX, Seen
from tunesmith.services.deployments import Deployments
from tunesmith.services.tuned_models import TunedModels

router = new_router()
MOST = 200


@router.get("/deployments")
def list_deployments(request: Request, visitor: Seen, model: str = "") -> Response:
    tuned: TunedModels = request.app.state.tuned_models
    models = [m.name for m in tuned.page(visitor.owner, limit=MOST)[0]] + model_names(request)
    prefix = links.served_as(visitor.owner, "")
    rows, _ = _deployments(request).page(visitor.owner, limit=MOST)
    return page(request, "deployments.html", visitor, rows=rows, models=models, model=model, prefix=prefix)


@router.get("/deployments/{deployment_id}")
def one_deployment(request: Request, visitor: Seen, deployment_id: str) -> Response:
    found = _deployments(request).get(visitor.owner, deployment_id)
    return RedirectResponse(links.of_model(links.served_as(visitor.owner, found.id)), 303, HEADERS)


@router.post("/deployments")
async def deploy(request: Request, form: Form) -> Response:
    name, model = form.need("name"), form.need("model")
    await asyncio.to_thread(lambda: _deployments(request).create(form.owner, name, model))
    return RedirectResponse(f"{PREFIX}/deployments", 303, HEADERS)


@router.post("/deployments/{deployment_id}/delete")
async def undeploy(request: Request, form: Form, deployment_id: str) -> Response:
    await asyncio.to_thread(lambda: _deployments(request).delete(form.owner, deployment_id, for_good=True))
    return RedirectResponse(f"{PREFIX}/deployments", 303, HEADERS)


def _deployments(request: Request) -> Deployments:
    deployments: Deployments = request.app.state.deployments
    return deployments
