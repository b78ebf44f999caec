"""Routes of models and training: every one queues an operation and answers with the id of its future."""

from typing import Any

from fastapi import Request
from google.protobuf.message import DecodeError

from tunesmith.core.errors import UserError
from tunesmith.core.types import Datum
from tunesmith.server import openapi
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_body, read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.datums import check_settings, loss_inputs, managed_settings, to_datum
from tunesmith.server.dialects.tinker import schemas, tensors
from tunesmith.server.dialects.tinker import wire_pb2 as wire
from tunesmith.server.dialects.tinker.service import refuse_token, sessions_of
from tunesmith.server.routing import Router
from tunesmith.services.sessions.models import shape_of
from tunesmith.services.sessions.shape import Managed

router = Router()
LARGEST_SEQ = 1 << 62


@router.post("/create_model")
async def create_model(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.CreateModel)
    _check_optimizer(body.optimizer_config)
    if body.lora_config is None:
        mend = "Send lora_config; all weights are trained by managed jobs, with lora_rank 0"
        raise UserError("lora_config", "is missing: this API trains adapters", mend)
    shape = body.lora_config.shape()
    request_id, model_id = sessions_of(request).models.create(
        owner, body.session_id, body.model_seq_id, body.base_model, shape, body.user_metadata
    )
    return {"request_id": request_id, "model_id": model_id}


@router.post("/load_weights")
async def load_weights(request: Request, owner: Owner) -> dict[str, Any]:
    """Into a new model of a session, whose shape the checkpoint gives, or into one that is there."""
    body = await read_json(request, schemas.LoadWeights)
    sessions = sessions_of(request)
    refuse_token(body.weights_access_token)
    start = sessions.vault.find(body.path, owner)
    if body.session_id is not None and body.model_seq_id is not None:
        _check_optimizer(body.optimizer_config)
        request_id, model_id = sessions.models.create(
            owner,
            body.session_id,
            body.model_seq_id,
            start.base_model,
            shape_of(start),
            body.user_metadata,
            start=start,
            optimizer=body.optimizer,
        )
        return {"request_id": request_id, "model_id": model_id}
    if body.model_id is None or body.seq_id is None:
        mend = "Send session_id and model_seq_id, or model_id and seq_id"
        raise UserError("load_weights", "names no model to load into", mend)
    request_id = sessions.models.load(owner, body.model_id, body.seq_id, start, body.optimizer)
    return {"request_id": request_id, "model_id": body.model_id}


@router.post("/get_info")
async def get_info(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, bodies.ModelId)
    row = sessions_of(request).models.find(owner, body.model_id)
    data = {"arch": "decoder", "model_name": row.base_model, "tokenizer_id": row.base_model}
    return {
        "type": "get_info",
        "model_id": row.id,
        "model_data": data,
        "is_lora": True,
        "lora_rank": row.rank,
        "model_name": row.base_model,
    }


@router.post("/forward_backward", openapi_extra=openapi.BYTES)
async def forward_backward(request: Request, owner: Owner) -> dict[str, Any]:
    message = wire.ForwardBackwardRequest()
    try:
        message.ParseFromString(await read_body(request))
    except DecodeError as e:
        raise UserError("body", f"is no ForwardBackwardRequest: {e}", "Send the protobuf message") from None
    if not 0 <= message.seq_id < LARGEST_SEQ:
        raise UserError("seq_id", f"{message.seq_id} is out of bounds", "Count from 1")
    sessions = sessions_of(request)
    row = sessions.models.find(owner, message.model_id)
    model = sessions.engines.model(row.base_model)
    data = [_datum(i, d, message.loss_fn, model.vocab, model.context) for i, d in enumerate(message.data)]
    if not data:
        raise UserError("data", "is empty", "Send at least one datum")
    loss, settings, managed = _loss(message)
    request_id = sessions.models.forward_backward(
        owner, message.model_id, message.seq_id, data, loss, settings, message.forward_only, managed
    )
    return {"request_id": request_id, "model_id": message.model_id}


@router.post("/optim_step")
async def optim_step(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.OptimStep)
    if body.optimizer_params is not None:
        _check_optimizer(body.optimizer_params)
    params = (body.adam_params or bodies.Adam()).params()
    request_id = sessions_of(request).models.optim_step(owner, body.model_id, body.seq_id, params)
    return {"request_id": request_id, "model_id": body.model_id}


@router.post("/weight_change")
async def weight_change(request: Request, owner: Owner) -> dict[str, Any]:
    """Ours: how far the weights are from the base model's."""
    body = await read_json(request, schemas.WeightChange)
    return {"request_id": sessions_of(request).models.weight_change(owner, body.model_id, body.seq_id)}


@router.post("/save_weights")
async def save_weights(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.SaveWeights)
    request_id = sessions_of(request).models.save(
        owner,
        body.model_id,
        body.seq_id,
        "weights",
        body.path,
        overwrite=body.overwrite,
        ttl_seconds=body.ttl_seconds,
        user_metadata=body.user_metadata,
    )
    return {"request_id": request_id, "model_id": body.model_id}


@router.post("/save_weights_for_sampler")
async def save_weights_for_sampler(request: Request, owner: Owner) -> dict[str, Any]:
    """Under a name, to be kept; or under a sampler of the session, for as long as the session lasts."""
    body = await read_json(request, schemas.SaveForSampler)
    sessions, inflight = sessions_of(request), body.kind == "inflight"
    if body.path is not None:
        request_id = sessions.models.save(
            owner,
            body.model_id,
            body.seq_id,
            "sampler_weights",
            body.path,
            ttl_seconds=body.ttl_seconds,
            user_metadata=body.user_metadata,
            inflight=inflight,
        )
    elif body.sampling_session_seq_id is not None:
        model = sessions.models.find(owner, body.model_id)
        number = body.sampling_session_seq_id
        request_id = sessions.samplers.publish(owner, model, body.seq_id, number, inflight)
    else:
        problem = "names neither path nor sampling_session_seq_id"
        raise UserError("save_weights_for_sampler", problem, "Send one of them")
    return {"request_id": request_id, "model_id": body.model_id}


@router.post("/save_weights_external")
async def save_weights_external(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.SaveExternal)
    request_id = sessions_of(request).models.save(
        owner,
        body.model_id,
        body.seq_id,
        "external_weights",
        body.path,
        recipients=body.age_encryption_recipients or (),
        ttl_seconds=body.ttl_seconds,
        overwrite=True,
    )
    return {"request_id": request_id, "model_id": body.model_id}


def _datum(i: int, datum: wire.Datum, loss: str, vocab: int, context: int) -> Datum:
    where = f"data[{i}]"
    named = {n: tensors.array(f"{where}.loss_fn_inputs.{n}", t) for n, t in datum.loss_fn_inputs.items()}
    return to_datum(where, loss, tensors.tokens(f"{where}.model_input", datum.model_input), named, vocab, context)


def _loss(message: wire.ForwardBackwardRequest) -> tuple[str, dict[str, Any], Managed | None]:
    """(loss, settings, how a managed job wants it) in the core's words."""
    config = _config(message)
    if message.loss_fn == "policy":
        return "policy", *managed_settings(config)
    return loss_inputs(message.loss_fn).runs_as or message.loss_fn, check_settings(message.loss_fn, config), None


def _config(message: wire.ForwardBackwardRequest) -> dict[str, Any]:
    """The loss's settings; the newer map wins where a client sends both."""
    old: dict[str, Any] = dict(message.loss_fn_config)
    for name, value in message.loss_fn_config_v2.items():
        old[name] = value.number if value.WhichOneof("value") == "number" else value.text
    return old


def _check_optimizer(given: schemas.Optimizer) -> None:
    if given.type != "adamw":
        raise UserError("optimizer_config.type", f"{given.type!r} is not among those here", "Use adamw")
