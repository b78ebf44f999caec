"""The rows of the compatibility matrix for the SDK's REST client."""

import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from calls import STATE, Arguments, At, Call, Stage, nothing, on
from tinker import types

PROJECT = "matrix"
WEEK_S = 604_800
FRESH, RUN = At(lambda s: s.fresh()), At(lambda s: s.training.model_id)
SESSION = At(lambda s: s.session)
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def is_run(stage: Stage, result: Any) -> bool:
    return bool(result.training_run_id == stage.training.model_id and result.base_model == stage.model)


def has_state(stage: Stage, result: Any) -> bool:
    return stage.state in [c.tinker_path for c in result.checkpoints]


def is_copy(stage: Stage, result: Any) -> bool:
    return bool(result.startswith("tinker://") and result != stage.state)


def opens(stage: Stage, result: Any) -> bool:
    """Every file of an export can be fetched by its plain address."""
    sizes = {name: len(urllib.request.urlopen(url).read()) for name, url in result.urls.items()}
    return {"adapter_config.json", "adapter_model.safetensors"} <= sizes.keys() and min(sizes.values()) > 0


def downloads(stage: Stage, result: Any) -> bool:
    return len(urllib.request.urlopen(result).read()) > 0


def delete_by_id(stage: Stage) -> Arguments:
    """A run's id and the id of one of its checkpoints, out of a path."""
    run, kind, name = stage.fresh().removeprefix("tinker://").split("/")
    return stage.rest, (run, f"{kind}/{name}"), {}


def unpublish(stage: Stage) -> Arguments:
    path = stage.fresh()
    stage.rest.publish_checkpoint_from_tinker_path(path).result()
    return stage.rest, (path,), {}


def changed(show: Callable[[Any], bool]) -> Callable[[Stage, Any], bool]:
    """Nothing comes back, and the newest checkpoint of the run is as the call left it."""

    def check(stage: Stage, result: Any) -> bool:
        kept = stage.rest.list_checkpoints(stage.training.model_id).result().checkpoints
        return result is None and show(max(kept, key=lambda c: c.time))

    return check


def deleted(stage: Stage, result: Any) -> bool:
    """The last one made for a single call is not listed any more."""
    kept = [c.tinker_path for c in stage.rest.list_checkpoints(stage.training.model_id).result().checkpoints]
    return result is None and stage.made[-1] not in kept and stage.state in kept


REST = {
    "get_server_capabilities": Call(on("rest"), lambda s, r: s.model in [m.model_name for m in r.supported_models]),
    "get_training_run": Call(on("rest", RUN), is_run),
    "get_training_run_by_tinker_path": Call(on("rest", STATE), is_run),
    "get_weights_info_by_tinker_path": Call(
        on("rest", STATE), lambda s, r: r.base_model == s.model and r.lora_rank == 4
    ),
    "list_training_runs": Call(
        on("rest", limit=100), lambda s, r: s.training.model_id in [run.training_run_id for run in r.training_runs]
    ),
    "list_checkpoints": Call(on("rest", RUN), has_state),
    "list_user_checkpoints": Call(on("rest", limit=1000), has_state),
    "get_external_weights_urls": Call(on("rest", At(lambda s: s.external)), opens),
    "delete_checkpoint": Call(delete_by_id, deleted),
    "delete_checkpoint_from_tinker_path": Call(on("rest", FRESH), deleted),
    "publish_checkpoint_from_tinker_path": Call(on("rest", FRESH), changed(lambda c: c.public)),
    "unpublish_checkpoint_from_tinker_path": Call(unpublish, changed(lambda c: not c.public)),
    "set_checkpoint_ttl_from_tinker_path": Call(
        on("rest", FRESH, WEEK_S), changed(lambda c: c.expires_at - c.time > timedelta(seconds=WEEK_S - 60))
    ),
    "copy_weights": Call(on("rest", STATE, PROJECT), is_copy),
    "get_session": Call(
        on("rest", SESSION), lambda s, r: s.training.model_id in r.training_run_ids and s.sampler_id in r.sampler_ids
    ),
    "list_sessions": Call(on("rest", limit=1000), lambda s, r: s.session in r.sessions),
    "assign_session_project": Call(on("rest", SESSION, PROJECT), nothing),
    "search_sessions": Call(
        on("rest", At(lambda s: types.SessionSearchRequest(session_id=s.session))),
        lambda s, r: [found.session_id for found in r.sessions] == [s.session],
    ),
    "export_session_trace": Call(on("rest", SESSION), downloads),
    "get_sampler": Call(on("rest", At(lambda s: s.sampler_id)), lambda s, r: r.base_model == s.model),
    "whoami": Call(on("rest"), lambda s, r: bool(r.user_urn)),
    "get_audit_log": Call(on("rest"), lambda s, r: isinstance(r.entries, list)),
    "get_billing_usage": Call(
        on("rest", MIDNIGHT - timedelta(days=1), MIDNIGHT), lambda s, r: isinstance(r.data, list)
    ),
    "get_current_checkpoint_storage_usage": Call(on("rest"), lambda s, r: isinstance(r.data, list)),
    "get_telemetry": Call(on("rest"), lambda s, r: True),
}
