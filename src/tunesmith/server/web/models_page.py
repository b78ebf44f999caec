"""``/dashboard/models`` and ``/dashboard/chat``: base and tuned models, and a box to talk to them."""

import asyncio

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tunesmith.server.dialects.openai.chat import chat_completions
from tunesmith.server.web import links
from tunesmith.server.web.datasets_page import model_names
from tunesmith.server.web.forms import Form
from tunesmith.server.web.pages import HEADERS, new_router, page
from tunesmith.server.web.visitor import PREFIX, Seen, check_origin, check_token
from tunesmith.services.deployments import Deployments
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.registry import Registry
from tunesmith.services.tuned_models import TunedModels, card_of

router = new_router()
MOST = 200


@router.get("/models")
def list_models(request: Request, visitor: Seen) -> Response:
    registry: Registry = request.app.state.registry
    tuned, total = _tuned(request).page(visitor.owner, limit=MOST)
    jobs: Jobs = request.app.state.jobs
    made = {job.id: links.of_job(job) for job in jobs.page(visitor.owner, limit=MOST)[0]}
    cards = {model.name: card_of(model) for model in tuned}
    base = registry.models()
    return page(request, "models.html", visitor, base=base, tuned=tuned, total=total, made=made, cards=cards)


@router.post("/models/delete")
async def delete_model(request: Request, form: Form) -> Response:
    await asyncio.to_thread(_tuned(request).remove, form.owner, form.need("name"))
    return RedirectResponse(f"{PREFIX}/models", 303, HEADERS)


@router.get("/chat")
def chat_page(request: Request, visitor: Seen, model: str = "") -> Response:
    deployments: Deployments = request.app.state.deployments
    tuned = [(m.name, m.name) for m in _tuned(request).page(visitor.owner, limit=MOST)[0]]
    deployed = [(links.served_as(visitor.owner, d.id), d.id) for d in deployments.page(visitor.owner, limit=MOST)[0]]
    groups = [("Tuned", tuned), ("Deployments", deployed), ("Base", [(name, name) for name in model_names(request)])]
    return page(request, "chat.html", visitor, model=model, groups=groups)


@router.post("/chat")
async def chat(request: Request, visitor: Seen) -> Response:
    """``/v1/chat/completions`` for this session instead of a key."""
    check_origin(request)
    check_token(visitor, request.headers.get("x-csrf", ""))
    return await chat_completions(request, visitor.owner)


def _tuned(request: Request) -> TunedModels:
    models: TunedModels = request.app.state.tuned_models
    return models
