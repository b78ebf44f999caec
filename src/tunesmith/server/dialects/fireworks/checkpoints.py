"""Routes of saving and loading: checkpoints to go on from, and weights to sample from."""

from typing import Any

from fastapi import Request

from tunesmith.core.errors import UserError, unknown
from tunesmith.server.body import read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.fireworks import names, schemas
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.server.dialects.fireworks.queueing import queued
from tunesmith.services.sessions.rows import CheckpointRow

router = new_router()
WHOLE_MODELS = {"delta": "a difference of all weights", "merged_base": "an adapter merged into all weights"}


@router.post("/save_weights")
async def save_weights(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.SaveWeights)
    given: dict[str, Any] = {"overwrite": body.overwrite, "ttl_seconds": body.ttl_seconds}

    def work() -> str:
        names.check_trained(body.model_id, "save_weights")
        return here.sessions.models.save(here.owner, body.model_id, body.seq_id, names.WEIGHTS, body.path, **given)

    return queued(here, body.model_id, body.seq_id, work)


@router.post("/save_weights_for_sampler")
async def save_weights_for_sampler(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.SaveForSampler)

    def work() -> str:
        _check_plain_adapter(body)
        kind, ttl = names.SAMPLER_WEIGHTS, body.ttl_seconds
        return here.sessions.models.save(here.owner, body.model_id, body.seq_id, kind, body.path, ttl_seconds=ttl)

    return queued(here, body.model_id, body.seq_id, work)


@router.post("/load_weights")
async def load_weights(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.LoadWeights)

    def work() -> str:
        names.check_trained(body.model_id, "load_weights")
        start = _to_load(here, body.model_id, body.path)
        return here.sessions.models.load(here.owner, body.model_id, body.seq_id, start, body.optimizer)

    return queued(here, body.model_id, body.seq_id, work)


@router.post("/load_adapter")
async def load_adapter(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, schemas.LoadAdapter)

    def work() -> str:
        problem = "adapters of other tools cannot be loaded into a model that is there"
        raise UserError("load_adapter", problem, "Go on from a checkpoint with load_state")

    return queued(here, body.model_id, body.seq_id, work)


@router.post("/weight_sync")
async def weight_sync(here: Here) -> dict[str, Any]:
    raise UserError("weight_sync", "weights do not go from memory to memory here", "Save them for the sampler")


@router.get("/list_checkpoints")
async def list_checkpoints(here: Here) -> dict[str, Any]:
    """Names to load: of the trainer job, or of everything the key's owner saved at the serverless address."""
    models = here.models_of(here.trainer) if here.trainer else None
    saved = [row for row in here.sessions.vault.of_models(here.owner, models) if row.kind == names.WEIGHTS]
    mine = [row.name for row in saved if here.trainer or names.is_run(row.model_id)]
    return {"checkpoints": sorted(set(mine))}


@router.post("/weights_info")
async def weights_info(request: Request, here: Here) -> dict[str, Any]:
    body = await read_json(request, bodies.WeightsInfo)
    row = names.find_checkpoint(here.sessions, here.owner, body.tinker_path, (names.WEIGHTS,))
    return {
        "base_model": row.base_model,
        "is_lora": True,
        "lora_rank": row.rank,
        "train_unembed": row.train_unembed,
        "train_mlp": row.train_mlp,
        "train_attn": row.train_attn,
    }


def _check_plain_adapter(body: schemas.SaveForSampler) -> None:
    names.check_trained(body.model_id, "save_weights_for_sampler")
    if body.checkpoint_type in WHOLE_MODELS:
        problem = f"{body.checkpoint_type!r} asks for {WHOLE_MODELS[body.checkpoint_type]}: adapters are saved as base"
        raise UserError("checkpoint_type", problem, "Leave it out")
    if body.checkpoint_type not in (None, "base"):
        raise unknown("checkpoint_type", body.checkpoint_type, ["base"])
    for name in ("export_precision", "metadata"):
        if getattr(body, name) is not None:
            raise UserError(name, "is not among what is saved with an adapter", "Leave it out")


def _to_load(here: Place, model_id: str, path: str) -> CheckpointRow:
    if not path.startswith(names.CROSS_JOB):
        near = here.models_near(model_id)
        return names.find_checkpoint(here.sessions, here.owner, path, (names.WEIGHTS,), near)
    job, _, name = path.removeprefix(names.CROSS_JOB).partition("/")
    here.trainers.find(here.owner, job)
    return names.find_checkpoint(here.sessions, here.owner, name, (names.WEIGHTS,), [here.models_of(job)])
