"""Routes of models and training: every one queues an operation and answers with the id of its future."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import Request

from tunesmith.core.errors import UserError, unknown
from tunesmith.core.types import Datum
from tunesmith.models.config import DecoderConfig, read_config
from tunesmith.server.body import read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.datums import check_settings, to_datum
from tunesmith.server.dialects.fireworks import names, schemas, tensors
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.server.dialects.fireworks.queueing import queued
from tunesmith.services.sessions.engines import BaseModel
from tunesmith.services.sessions.shape import PolicyShape

router = new_router()
ALPHA = 32
"""The only alpha there is: an adapter adds alpha / rank times its product."""
REFERENCE = PolicyShape(1, attention=True, mlp=False, head=False)
"""A fresh adapter changes nothing; so small a one costs nothing either."""
LOSSES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "cross_entropy": ("cross_entropy", {}),
    "importance_sampling": ("importance_sampling", {}),
    "ppo": ("ppo", {}),
    "cispo": ("cispo", {}),
    "dro": ("dro", {}),
    "gspo": ("gspo", {}),
    # PPO with a higher ceiling.
    "dapo": ("ppo", {"clip_low_threshold": 0.8, "clip_high_threshold": 1.28}),
}
"""Loss of the wire -> ours, and the settings in which it differs."""
NEUTRAL: Mapping[str, Any] = {
    "target_logprob_support": "full_vocabulary",
    "score_centering": False,
    "report_policy_diagnostics": False,
}
"""Settings that may be sent with the one value that asks for nothing."""


@router.post("/create_model")
async def create_model(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.CreateModel)
    if body.projection_head_dim:
        raise UserError("projection_head_dim", "projections are not among what is trained here", "Leave it out")
    rank = body.lora_config.rank if body.lora_config is not None else 0
    reference = body.base_only or (here.forward_only and rank == 0)
    shape = REFERENCE if reference else _shape(body.lora_config)
    model_id = here.model_id(body.session_id, body.model_seq_id, reference)
    request_id, model_id = here.sessions.models.create(
        here.owner,
        body.session_id,
        body.model_seq_id,
        body.base_model,
        shape,
        body.user_metadata,
        model_id=model_id,
    )
    return {"request_id": request_id, "model_id": model_id}


@router.post("/get_info")
async def get_info(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, bodies.ModelId)
    row = here.sessions.models.find(here.owner, body.model_id)
    reference = names.is_reference(row.id)
    return {
        "type": "get_info",
        "model_id": row.id,
        "model_data": {"arch": "decoder", "model_name": row.base_model, "tokenizer_id": row.base_model},
        "is_lora": not reference,
        "lora_rank": 0 if reference else row.rank,
        "model_name": row.base_model,
    }


@router.post("/unload_model")
async def unload_model(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, bodies.ModelId)
    return {"request_id": here.sessions.models.unload(here.owner, body.model_id)}


@router.post("/forward")
async def forward(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.Forward)
    return _pass(here, body.model_id, body.seq_id, body.forward_input, forward_only=True)


@router.post("/forward_backward")
async def forward_backward(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.ForwardBackward)
    return _pass(here, body.model_id, body.seq_id, body.forward_backward_input, forward_only=False)


@router.post("/optim_step")
async def optim_step(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.OptimStep)
    params = body.adam_params.params()
    divide_by = body.grad_accumulation_normalization or "none"

    def work() -> str:
        names.check_trained(body.model_id, "optim_step")
        return here.sessions.models.optim_step(here.owner, body.model_id, body.seq_id, params, divide_by)

    return queued(here, body.model_id, body.seq_id, work)


def _shape(lora: schemas.Lora | None) -> PolicyShape:
    if lora is None or lora.rank == 0:
        mend = "Give a rank such as 8; all weights are trained by managed jobs, with lora_rank 0"
        raise UserError("lora_config", "asks for all weights: this API trains adapters", mend)
    if lora.alpha is not None and lora.alpha != ALPHA:
        raise UserError("lora_config.alpha", f"must be {ALPHA} (got {lora.alpha:g})", "Leave it out")
    if lora.init_method not in (None, "kaiming"):
        raise unknown("lora_config.init_method", lora.init_method, ["kaiming"])
    return lora.shape()


def _pass(here: Place, model_id: str, seq: int, given: schemas.Pass, forward_only: bool) -> dict[str, str]:
    models = here.sessions.models

    def work() -> str:
        if not forward_only:
            names.check_trained(model_id, "forward_backward")
        loss, settings = _loss(given)
        base = here.sessions.engines.model(models.find(here.owner, model_id).base_model)
        config = read_config(base.folder)
        if not given.data:
            raise UserError("data", "is empty", "Send at least one datum")
        data = [_datum(f"data[{i}]", d, loss, base, config) for i, d in enumerate(given.data)]
        return models.forward_backward(here.owner, model_id, seq, data, loss, settings, forward_only)

    return queued(here, model_id, seq, work)


def _loss(given: schemas.Pass) -> tuple[str, dict[str, float]]:
    """(our name of the loss, its settings)."""
    if given.loss_fn not in LOSSES:
        raise unknown("loss_fn", given.loss_fn, LOSSES)
    loss, differences = LOSSES[given.loss_fn]
    asked = {k: v for k, v in (given.loss_fn_config or {}).items() if k not in NEUTRAL or v != NEUTRAL[k]}
    return loss, {**differences, **check_settings(loss, asked)}


def _datum(where: str, given: schemas.Datum, loss: str, base: BaseModel, config: DecoderConfig) -> Datum:
    model_input = given.model_input
    for name in ("routing_references", "top_sampling_references", "sampling_mask_references"):
        if getattr(model_input, name) is not None:
            mend = "Send routing_matrices, or leave it out"
            raise UserError(f"{where}.model_input.{name}", "files of references are not read here", mend)
    ids = tensors.tokens(f"{where}.model_input", model_input)
    columns = {n: tensors.array(f"{where}.loss_fn_inputs.{n}", t) for n, t in given.loss_fn_inputs.items()}
    datum = to_datum(where, loss, ids, columns, base.vocab, base.context)
    if model_input.routing_matrices is None:
        return datum
    place = f"{where}.model_input.routing_matrices"
    if datum.routing is not None:
        raise UserError(place, "is given in loss_fn_inputs too", "Send one of them")
    return replace(datum, routing=tensors.routes(place, model_input.routing_matrices, len(ids), config))
