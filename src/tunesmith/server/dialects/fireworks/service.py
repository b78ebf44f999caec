"""Routes of the service itself: configuration, sessions, futures, and samplers of the training wire."""

from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import PromptScoring
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_body, read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.fireworks import names, schemas, tensors
from tunesmith.server.dialects.fireworks.answers import answer, pending
from tunesmith.server.dialects.fireworks.envelope import new_router, refused
from tunesmith.server.dialects.fireworks.place import SESSION_PREFIX, Here
from tunesmith.services.sessions.clients import Introduction

router = new_router()
POLL_SECONDS = 25.0
"""A question for a result waits so long; clients ask again at once and give up after 45."""
CONFIG = {
    # Requests are JSON, and chunks of one batch may be on their way together: their numbers order them.
    "proto_write_fwdbwd": False,
    "proto_compress_fwdbwd": False,
    "fwd_via_fwdbwd": False,
    "parallel_fwdbwd_chunks": True,
    "pjwt_auth_enabled": False,
}


@router.get("/healthz")
async def healthz(here: Here) -> dict[str, str]:
    return {"status": "ok"}


@router.post("/client/config")
async def client_config(owner: Owner) -> dict[str, Any]:
    return CONFIG


@router.get("/get_server_capabilities")
async def capabilities(request: Request, owner: Owner) -> dict[str, Any]:
    models = request.app.state.registry.models()
    return {"supported_models": [{"model_name": m.name, "max_context_length": m.max_context} for m in models]}


@router.post("/create_session")
async def create_session(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, bodies.CreateSession)
    said = Introduction(body.sdk_version, body.tags, body.user_metadata or {})
    prefix = {} if here.trainer else {"prefix": SESSION_PREFIX}
    session_id = here.sessions.clients.begin(here.owner, said, **prefix)
    here.begin(session_id)
    return {"type": "create_session", "session_id": session_id}


@router.post("/session_heartbeat", response_model=None)
async def heartbeat(request: Request, here: Here) -> dict[str, str] | Response:
    body = await read_json(request, bodies.Heartbeat)
    if not here.sessions.clients.heard(here.owner, body.session_id):
        return refused(410, f"session {body.session_id} has ended. Begin another with create_session")
    return {"type": "session_heartbeat"}


@router.post("/telemetry")
async def telemetry(request: Request, owner: Owner) -> dict[str, str]:
    """Taken and dropped: what clients do is their own business."""
    await read_body(request)
    return {"status": "accepted"}


@router.post("/retrieve_future", response_model=None)
async def retrieve_future(request: Request, here: Here) -> Response:
    """A result, or after a while the word that there is none yet."""
    body = await read_json(request, schemas.RetrieveFuture)
    futures, stopping = here.sessions.futures, request.app.state.stopping
    future = await futures.wait(body.request_id, here.owner, POLL_SECONDS, stopping)
    return pending(here, future) if future.result is None else answer(here, future.request_id, future.result)


@router.post("/create_sampling_session")
async def create_sampling_session(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, bodies.CreateSampler)
    path = None
    if body.model_path is not None:
        near = [here.models_in(body.session_id)]
        kinds = (names.SAMPLER_WEIGHTS, names.WEIGHTS)
        path = names.find_checkpoint(here.sessions, here.owner, body.model_path, kinds, near).path
    number = body.sampling_session_seq_id
    sampler = here.sessions.samplers.create(here.owner, body.session_id, number, body.base_model, path)
    return {"type": "create_sampling_session", "sampling_session_id": sampler.id}


@router.post("/create_sampling_route")
async def create_sampling_route(request: Request, here: Here) -> dict[str, Any]:
    """Every model and run can be sampled without further ado; the names are checked."""
    body = await read_json(request, schemas.SamplingRoute)
    if body.training_run is not None:
        run = body.training_run.rpartition("/")[2]
        here.sessions.models.find(here.owner, names.model_of_run(run))
    elif body.base_model is not None:
        here.sessions.engines.model(body.base_model)
    else:
        raise UserError("create_sampling_route", "names nothing to sample", "Send base_model or training_run")
    return {}


@router.post("/asample")
async def asample(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.Sample)
    if body.topk_prompt_logprobs:
        raise UserError("topk_prompt_logprobs", "is not among what this wire returns", "Leave it out")
    live = here.sessions.samplers.find(here.owner, body.sampling_session_id)
    prompt = tensors.tokens("prompt", body.prompt)
    own_seed = seed_of(body.sampling_session_id, body.seq_id)
    params = body.sampling_params.params(live.context - len(prompt), own_seed)
    scoring = PromptScoring() if body.prompt_logprobs else None
    request_id = here.sessions.samplers.sample(
        here.owner, live.row.id, body.seq_id, prompt, params, body.num_samples, scoring
    )
    return {"request_id": request_id}
