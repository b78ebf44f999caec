"""Models as this wire shows them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.models.adapter_files import CONFIG as ADAPTER_CONFIG
from tunesmith.models.config import read_config
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.managed import job_objects
from tunesmith.server.dialects.fireworks.managed.bodies import full_name
from tunesmith.server.dialects.fireworks.managed.lists import MOST_LOOKED_THROUGH, Body, without_empty
from tunesmith.server.dialects.fireworks.managed.uploads import status
from tunesmith.services.deployments import Deployments
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.model_uploads import ADAPTER, ModelUploads
from tunesmith.services.records import Record
from tunesmith.services.registry import RegisteredModel, Registry
from tunesmith.services.tuned_models import TunedModel, TunedModels

SAID = (
    "displayName",
    "description",
    "conversationConfig",
    "defaultSamplingParams",
    "githubUrl",
    "huggingFaceUrl",
    "public",
    "supportsImageInput",
    "supportsTools",
    "baseModelDetails",
)
"""What a client says of a model, to be shown again."""


def kept(body: Mapping[str, Any]) -> Body:
    return {name: body[name] for name in SAID if name in body}


def find(request: Request, owner: str, account: str, model_id: str) -> Body:
    """A model of one's own, or a base model under its public name.

    Raises:
        NotFound: neither.
    """
    if account == names.account_of(owner):
        return own(request, owner, model_id)
    registry: Registry = request.app.state.registry
    return base(registry.find(names.our_model(registry, owner, f"accounts/{account}/models/{model_id}")))


def own(request: Request, owner: str, model_id: str) -> Body:
    """
    Raises:
        NotFound: the account has no model of that id.
    """
    store: ModelUploads = request.app.state.model_uploads
    tuned: TunedModels = request.app.state.tuned_models
    record, found = store.records.find(owner, model_id), tuned.get(owner, model_id)
    if found is not None:
        return _tuned(request, owner, found, record)
    promoted = _registered(request).get(full_name(owner, "models", model_id))
    if promoted is not None:
        return base(promoted) | ({} if record is None else record.body["asked"])
    if record is not None and _waits(record):
        return _uploading(owner, record)
    raise NotFound(model_id[:100], "no such model", "List those there are")


def all_own(request: Request, owner: str) -> list[Body]:
    store: ModelUploads = request.app.state.model_uploads
    tuned: TunedModels = request.app.state.tuned_models
    beginning = full_name(owner, "models", "")
    ids = {record.id for record in store.records.all(owner) if _waits(record)}
    ids |= {model.name for model in tuned.page(owner, MOST_LOOKED_THROUGH)[0]}
    ids |= {name.removeprefix(beginning) for name in _registered(request) if name.startswith(beginning)}
    return [own(request, owner, model_id) for model_id in sorted(ids)]


def folder_of(request: Request, owner: str, model_id: str) -> Path:
    """Where a model of one's own lies.

    Raises:
        NotFound: the account has none of that id that is READY.
    """
    tuned: TunedModels = request.app.state.tuned_models
    found = tuned.get(owner, model_id)
    if found is not None:
        return found.folder
    promoted = _registered(request).get(full_name(owner, "models", model_id))
    if promoted is None:
        raise NotFound(model_id[:100], "no such model, or its files are not all there", "List those there are")
    return promoted.folder


def base(model: RegisteredModel) -> Body:
    """A base model; ``tunesmith/embedded`` is shown as ``accounts/tunesmith/models/embedded``."""
    config = read_config(model.folder)
    return {
        "name": public_name(model.name),
        "state": "READY",
        "status": status(),
        "kind": "HF_BASE_MODEL",
        "contextLength": model.max_context,
        "trainingContextLength": model.max_context,
        "baseModelDetails": {"moe": config.moe is not None, "tunable": True, "checkpointFormat": "HUGGINGFACE"},
        "tunable": True,
        "rlTunable": True,
        "supportsLora": True,
    }


def public_name(name: str) -> str:
    account, _, model = name.partition("/")
    return name if account == "accounts" or "/" in model else f"accounts/{account}/models/{model}"


def _tuned(request: Request, owner: str, model: TunedModel, record: Record | None) -> Body:
    deployments: Deployments = request.app.state.deployments
    jobs: Jobs = request.app.state.jobs
    loaded = [row for row in deployments.all_loaded(owner) if row.model == model.name]
    job = None
    if model.job_id:
        try:
            job = job_objects.name_of(jobs.get(owner, model.job_id))
        except NotFound:
            # It was deleted; the model has outlived it.
            job = None
    return without_empty(
        {
            **({} if record is None else record.body["asked"]),
            "name": full_name(owner, "models", model.name),
            "createTime": model.created_at,
            "state": "READY",
            "status": status(),
            "kind": "HF_BASE_MODEL" if model.whole else "HF_PEFT_ADDON",
            "peftDetails": None if model.whole else _peft(model),
            "fineTuningJob": job,
            "deployedModelRefs": [
                {
                    "name": full_name(owner, "deployedModels", row.id),
                    "deployment": full_name(owner, "deployments", row.deployment),
                    "state": "DEPLOYED",
                    "default": row.default,
                }
                for row in loaded
            ],
        }
    )


def _peft(model: TunedModel) -> Body:
    config = json.loads((model.folder / ADAPTER_CONFIG).read_text("utf-8"))
    about = {"baseModel": public_name(model.base_model), "r": config.get("r")}
    return without_empty({**about, "targetModules": config.get("target_modules")})


def _uploading(owner: str, record: Record) -> Body:
    adapter = record.body["kind"] == ADAPTER
    return without_empty(
        {
            **record.body["asked"],
            "name": full_name(owner, "models", record.id),
            "createTime": record.created_at,
            "updateTime": record.updated_at,
            "state": "UPLOADING",
            "status": status(),
            "kind": "HF_PEFT_ADDON" if adapter else "HF_BASE_MODEL",
            "peftDetails": {"baseModel": public_name(record.body["base_model"])} if adapter else None,
        }
    )


def _waits(record: Record) -> bool:
    """Whether it is a model whose files are to come; others are there in their own right."""
    return bool(record.body.get("state") == "UPLOADING")


def _registered(request: Request) -> dict[str, RegisteredModel]:
    registry: Registry = request.app.state.registry
    return {model.name: model for model in registry.models()}
