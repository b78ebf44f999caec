"""``/models``: base models, which everybody has, and the tuned models of the key's owner."""

import asyncio
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from tunesmith.core.errors import Denied, NotFound, unknown
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.given import Promotion, Rename
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset
from tunesmith.server.tar import tar_response
from tunesmith.services.registry import RegisteredModel, Registry
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.tuned_models import TunedModel, TunedModels, card_of

router = new_router("models")
MOST = 10_000


@router.get("/models", response_model=answers.Page[answers.Model])
def list_models(request: Request, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
    """Base models, then tuned ones, the newest first."""
    bases = [_base(base) for base in _registry(request).models()]
    tuned = [_tuned(request, model) for model in _models(request).page(owner, MOST)[0]]
    both = [*bases, *tuned]
    return answers.page(both[offset : offset + limit], len(both), offset)


@router.get("/models/{name:path}/download", response_class=StreamingResponse)
def download_model(request: Request, owner: Owner, name: str) -> StreamingResponse:
    """The files of a tuned model as tar: an adapter in PEFT format, or a model in Hugging Face's."""
    model = _own(request, owner, name)
    return tar_response(model.folder, "".join(c if c.isalnum() else "-" for c in name))


@router.post("/models/{name:path}/rename", response_model=answers.Model)
async def rename_model(request: Request, owner: Owner, name: str) -> dict[str, Any]:
    """Requests in hand finish; the old name answers no more."""
    given = await read_json(request, Rename)

    def rename() -> dict[str, Any]:
        _own(request, owner, name)
        return _tuned(request, _models(request).rename(owner, name, given.name))

    return await asyncio.to_thread(rename)


@router.post("/models/{name:path}/promote", response_model=answers.Model)
async def promote_model(request: Request, owner: Owner, name: str) -> dict[str, Any]:
    """Give a checkpoint of the Training API this name. Its weights are copied and outlive it."""
    given = await read_json(request, Promotion)
    sessions: Sessions = request.app.state.sessions

    def promote() -> dict[str, Any]:
        return _tuned(request, _models(request).promote(owner, name, sessions.vault, given.path))

    return await asyncio.to_thread(promote)


@router.get("/models/{name:path}", response_model=answers.Model)
def get_model(request: Request, owner: Owner, name: str) -> dict[str, Any]:
    found = _models(request).get(owner, name)
    if found is not None:
        return _tuned(request, found)
    base = next((base for base in _registry(request).models() if base.name == name), None)
    if base is None:
        raise _absent(request, owner, name)
    return _base(base)


@router.delete("/models/{name:path}", status_code=204)
def delete_model(request: Request, owner: Owner, name: str) -> None:
    """Forget a tuned model."""
    _own(request, owner, name)
    _models(request).remove(owner, name)


def _models(request: Request) -> TunedModels:
    models: TunedModels = request.app.state.tuned_models
    return models


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


def _own(request: Request, owner: str, name: str) -> TunedModel:
    """
    Raises:
        NotFound: no such model. Denied: a base model, which is everybody's.
    """
    found = _models(request).get(owner, name)
    if found is not None:
        return found
    if any(base.name == name for base in _registry(request).models()):
        raise Denied("model", f"{name} is a base model, which others use too", "Work on its folder, on the server")
    raise _absent(request, owner, name)


def _absent(request: Request, owner: str, name: str) -> NotFound:
    names = [base.name for base in _registry(request).models()]
    refusal = unknown("model", name[:200], names + [own.name for own in _models(request).page(owner)[0]])
    return NotFound(refusal.where, refusal.problem, refusal.mend)


def _base(base: RegisteredModel) -> dict[str, Any]:
    fields = {"name": base.name, "base_model": None, "whole": True, "job_id": "", "created_at": None}
    return fields | {"max_context": base.max_context, "card": None}


def _tuned(request: Request, model: TunedModel) -> dict[str, Any]:
    names = ("name", "base_model", "whole", "job_id", "created_at")
    context = next((b.max_context for b in _registry(request).models() if b.name == model.base_model), 0)
    return {name: getattr(model, name) for name in names} | {"max_context": context, "card": card_of(model) or None}
