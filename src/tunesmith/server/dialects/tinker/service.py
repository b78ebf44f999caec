"""Routes of the service itself: configuration, sessions, futures."""

import asyncio
from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_body, read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.tinker import schemas
from tunesmith.server.dialects.tinker.answers import answer, pending
from tunesmith.server.routing import Router
from tunesmith.services.sessions.clients import Introduction
from tunesmith.services.sessions.sessions import Sessions

router = Router()
POLL_SECONDS = 25.0
"""A question for a result waits so long; clients give up after 45."""
CONFIG = {
    # Of old clients: protobuf both ways, forward as a flag, models made by loading.
    "proto_write_fwdbwd": True,
    "fwd_via_fwdbwd": True,
    "create_model_via_load_weights": True,
    # So many bytes are about 32k tokens: models that share an engine take turns by requests.
    "fwdbwd_max_chunk_bytes_count": 800_000,
    "parallel_fwdbwd_chunks": True,
    "proto_compress_fwdbwd": False,
    # One poll per request: a client that asks for all news at once would wait for ever after a crash of the server.
    "sample_use_retrieve_futures": False,
    "sample_join_sampling_session": True,
    "custom_loss_server_side": False,
    "pjwt_auth_enabled": False,
}
SUBSTITUTE = (
    "stable_reinforce runs here as ppo: importance sampling with the ratio held in [0.8, 1.2]. "
    "Choose loss_fn=importance_sampling, ppo, cispo or dro to name your own."
)


def sessions_of(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def refuse_token(token: str | None) -> None:
    """Tokens for other accounts' weights are the hosted service's."""
    if token is not None:
        raise UserError("weights_access_token", "is not known here", "Ask the owner to publish the checkpoint")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.post("/client/config")
async def client_config(owner: Owner) -> dict[str, Any]:
    return CONFIG


@router.post("/client/dynamic_config")
async def dynamic_config(owner: Owner) -> dict[str, Any]:
    return {"refresh_interval_sec": 300, "sample_cancel_enabled": True, "sample_cancel_max_batch_size": 64}


@router.get("/get_server_capabilities")
async def capabilities(request: Request, owner: Owner) -> dict[str, Any]:
    models = request.app.state.registry.models()
    return {
        "supported_models": [
            {"model_name": m.name, "max_context_length": m.max_context, "trainable": True, "sampleable": True}
            for m in models
        ]
    }


@router.post("/create_session")
async def create_session(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, bodies.CreateSession)
    said = Introduction(body.sdk_version, body.tags, body.user_metadata or {}, body.display_name, body.project_id)
    # In a thread, because it may have to wait for another's write, and nobody should wait with it.
    session_id = await asyncio.to_thread(sessions_of(request).clients.begin, owner, said)
    return {"type": "create_session", "session_id": session_id, "warning_message": SUBSTITUTE}


@router.post("/session_heartbeat", response_model=None)
async def heartbeat(request: Request, owner: Owner) -> dict[str, str] | Response:
    body = await read_json(request, bodies.Heartbeat)
    if not sessions_of(request).clients.heard(owner, body.session_id):
        return Response('{"detail": "the session has ended"}', 410, media_type="application/json")
    return {"type": "session_heartbeat"}


@router.post("/sessions/{session_id}/finish")
async def finish(request: Request, owner: Owner, session_id: str) -> dict[str, Any]:
    body = await read_json(request, schemas.Finish)
    sessions_of(request).end(owner, session_id, body.reason.type)
    return {}


@router.post("/telemetry")
async def telemetry(request: Request, owner: Owner) -> dict[str, str]:
    """Taken and dropped: what clients do is their own business."""
    await read_body(request)
    return {"status": "accepted"}


@router.post("/retrieve_future", response_model=None)
async def retrieve_future(request: Request, owner: Owner) -> Response:
    """A result, or after a while the word that there is none yet."""
    body = await read_json(request, schemas.RetrieveFuture)
    sessions = sessions_of(request)
    future = await sessions.futures.wait(body.request_id, owner, POLL_SECONDS, request.app.state.stopping)
    if future.result is None:
        return pending(future, sessions)
    return answer(future.request_id, future.result, body.allow_metadata_only)


@router.post("/retrieve_futures")
async def retrieve_futures(request: Request, owner: Owner) -> dict[str, Any]:
    """What is new among the requests of a sampler; waits for the first when nothing is."""
    body = await read_json(request, schemas.RetrieveFutures)
    log = sessions_of(request).samplers.finished(owner, body.target.sampling_session_id, body.target.cloned_sampler_id)
    seconds = POLL_SECONDS if body.timeout is None else min(body.timeout, POLL_SECONDS)
    done, cursor = await log.after(body.prev_cursor, seconds, request.app.state.stopping)
    news = [{"state": "failed" if failed else "finished", "request_id": request_id} for request_id, failed in done]
    return {"completions": news, "cursor": cursor}


@router.post("/cancel_future", status_code=204)
async def cancel_future(request: Request, owner: Owner) -> None:
    body = await read_json(request, schemas.CancelFuture)
    sessions_of(request).samplers.cancel(owner, body.request_id)
