"""Routes of the control plane that training needs: accounts, and sessions of the serverless mode."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Response

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.place import Here
from tunesmith.services.sessions.rows import CheckpointRow

router = new_router()
TYPES = {names.WEIGHTS: "CHECKPOINT_TYPE_TRAINING_LORA", names.SAMPLER_WEIGHTS: "CHECKPOINT_TYPE_INFERENCE_LORA"}


@router.get("/verifyApiKey")
async def verify_api_key(owner: Owner) -> Response:
    return Response("{}", headers={"x-fireworks-account-id": names.account_of(owner)}, media_type="application/json")


@router.get("/v1/accounts")
async def accounts(owner: Owner) -> dict[str, Any]:
    """The key's own, which is the only one it can do anything with."""
    return {"accounts": [_account(owner)], "nextPageToken": "", "totalSize": 1}


@router.get("/v1/accounts/{account}")
async def account(owner: Owner, account: str) -> dict[str, Any]:
    names.check_account(owner, account)
    return _account(owner)


@router.delete("/v1/accounts/{account}/trainingSessions/{session_id}")
async def delete_session(here: Here, account: str, session_id: str) -> dict[str, Any]:
    """The session's models leave memory; its checkpoints stay. Twice is as good as once."""
    names.check_account(here.owner, account)
    here.sessions.end(here.owner, session_id, "success")
    return {}


@router.get("/v1/accounts/{account}/trainingSessions/{session_id}/checkpoints")
async def session_checkpoints(here: Here, account: str, session_id: str) -> dict[str, Any]:
    """All that its models saved, oldest first, on one page."""
    names.check_account(here.owner, account)
    session = here.sessions.clients.find(here.owner, session_id)
    parent = f"accounts/{account}/trainingSessions/{session.id}"
    rows = here.sessions.vault.of_models(here.owner, here.models_in(session.id))
    listed = [checkpoint(parent, row) for row in rows]
    return {"trainingSessionCheckpoints": listed, "nextPageToken": "", "totalSize": len(listed)}


def checkpoint(parent: str, row: CheckpointRow) -> dict[str, Any]:
    """One checkpoint as the control plane shows it."""
    if row.kind not in TYPES:
        raise NotFound(row.path, "no such checkpoint", "List those there are")
    saved = datetime.fromtimestamp(row.created_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "name": f"{parent}/checkpoints/{row.name}",
        "createTime": saved,
        "updateTime": saved,
        "checkpointType": TYPES[row.kind],
        "promotable": row.kind == names.SAMPLER_WEIGHTS,
    }


def _account(owner: str) -> dict[str, Any]:
    return {"name": f"accounts/{names.account_of(owner)}", "displayName": owner, "state": "READY"}
