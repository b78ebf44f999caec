"""Routes of what lasts: training runs, checkpoints, sessions that are over."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from sqlalchemy import func, select

from tunesmith.core.durable import write_json
from tunesmith.core.errors import NotFound, UserError
from tunesmith.server import files
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.tinker import schemas
from tunesmith.server.dialects.tinker.service import refuse_token, sessions_of
from tunesmith.server.routing import Router
from tunesmith.services.sessions.clients import LOST, Introduction
from tunesmith.services.sessions.rows import CheckpointRow, ModelRow, SessionRow
from tunesmith.services.sessions.sessions import Sessions

router = Router()
TYPES = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}
MOST_ROWS = 1000


@router.get("/training_runs")
async def training_runs(request: Request, owner: Owner, limit: int = 20, offset: int = 0) -> dict[str, Any]:
    limit, offset = _page(limit, offset)
    sessions = sessions_of(request)
    rows, total = sessions.models.page(owner, limit, offset)
    cursor = {"offset": offset, "limit": limit, "total_count": total}
    return {"training_runs": [_run(sessions, row) for row in rows], "cursor": cursor}


@router.get("/training_runs/{model_id}")
async def training_run(request: Request, owner: Owner, model_id: str) -> dict[str, Any]:
    sessions = sessions_of(request)
    return _run(sessions, sessions.models.find(owner, model_id))


@router.get("/training_runs/{model_id}/checkpoints")
async def run_checkpoints(
    request: Request, owner: Owner, model_id: str, limit: int = MOST_ROWS, offset: int = 0
) -> dict[str, Any]:
    sessions_of(request).models.find(owner, model_id)
    return _checkpoints(sessions_of(request), owner, model_id, *_page(limit, offset))


@router.get("/checkpoints")
async def checkpoints(request: Request, owner: Owner, limit: int = 100, offset: int = 0) -> dict[str, Any]:
    return _checkpoints(sessions_of(request), owner, None, *_page(limit, offset))


@router.delete("/training_runs/{model_id}/checkpoints/{kind}/{name}", status_code=204)
async def delete_checkpoint(request: Request, owner: Owner, model_id: str, kind: str, name: str) -> None:
    sessions_of(request).vault.delete(_path(model_id, kind, name), owner)


@router.post("/training_runs/{model_id}/checkpoints/{kind}/{name}/publish", status_code=204)
async def publish(request: Request, owner: Owner, model_id: str, kind: str, name: str) -> None:
    sessions_of(request).vault.publish(_path(model_id, kind, name), owner, public=True)


@router.delete("/training_runs/{model_id}/checkpoints/{kind}/{name}/publish", status_code=204)
async def unpublish(request: Request, owner: Owner, model_id: str, kind: str, name: str) -> None:
    sessions_of(request).vault.publish(_path(model_id, kind, name), owner, public=False)


@router.put("/training_runs/{model_id}/checkpoints/{kind}/{name}/ttl", status_code=204)
async def set_ttl(request: Request, owner: Owner, model_id: str, kind: str, name: str) -> None:
    body = await read_json(request, schemas.Ttl)
    sessions_of(request).vault.set_ttl(_path(model_id, kind, name), owner, body.ttl_seconds)


@router.get("/training_runs/{model_id}/checkpoints/external_weights/{name}/external_weights_urls")
async def external_weights_urls(request: Request, owner: Owner, model_id: str, name: str) -> dict[str, Any]:
    """Plain addresses, good for a day, that need no key."""
    vault = sessions_of(request).vault
    row = vault.find(_path(model_id, "external_weights", name), owner)
    folder = vault.files(row)
    links = {f.name: files.link(request, f) for f in sorted(folder.iterdir()) if f.is_file()}
    expires = datetime.fromtimestamp(files.expiry(), UTC).isoformat()
    return {"urls": links, "expires": expires}


@router.post("/weights_info")
async def weights_info(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, bodies.WeightsInfo)
    row = sessions_of(request).vault.find(body.tinker_path, owner)
    return {
        "base_model": row.base_model,
        "is_lora": True,
        "lora_rank": row.rank,
        "train_unembed": row.train_unembed,
        "train_mlp": row.train_mlp,
        "train_attn": row.train_attn,
        "optimizer_config": {"type": "adamw"},
    }


@router.post("/copy_weights")
async def copy_weights(request: Request, owner: Owner) -> dict[str, Any]:
    """The same weights as a checkpoint of another model of the owner's, which the copy makes where there is none."""
    body = await read_json(request, schemas.CopyWeights)
    sessions = sessions_of(request)
    refuse_token(body.weights_access_token)
    source = sessions.vault.find(body.source_path, owner)
    session_id, number = body.session_id, body.model_seq_id
    if session_id is None or number is None:
        if body.destination_project_id is None:
            mend = "Send session_id and model_seq_id, or destination_project_id"
            raise UserError("copy_weights", "names no place for the copy", mend)
        session_id, number = sessions.clients.begin(owner, Introduction(project_id=body.destination_project_id)), 0
        sessions.clients.end(owner, session_id, "success")
    model = sessions.models.placeholder(owner, session_id, number, source)
    saving = sessions.vault.saving(model.id, source.kind, source.name, ttl_seconds=body.ttl_seconds)
    return {"tinker_path": sessions.vault.copy(source, model, saving).path}


@router.get("/sessions")
async def list_sessions(request: Request, owner: Owner, limit: int = 20, offset: int = 0) -> dict[str, Any]:
    rows, _ = sessions_of(request).clients.page(owner, *_page(limit, offset))
    return {"sessions": [row.id for row in rows]}


@router.get("/sessions/{session_id}")
async def get_session(request: Request, owner: Owner, session_id: str) -> dict[str, Any]:
    clients = sessions_of(request).clients
    row = clients.find(owner, session_id)
    models, samplers = clients.belongings(session_id)
    return {
        "training_run_ids": models,
        "sampler_ids": samplers,
        "user_metadata": row.user_metadata,
        "display_name": row.display_name,
    }


@router.put("/sessions/{session_id}/project", status_code=204)
async def set_project(request: Request, owner: Owner, session_id: str) -> None:
    body = await read_json(request, schemas.Project)
    sessions_of(request).clients.set_project(owner, session_id, body.project_id)


@router.post("/sessions/search")
async def search_sessions(request: Request, owner: Owner) -> dict[str, Any]:
    """The owner's own, newest first, a page at a time."""
    body = await read_json(request, schemas.SearchSessions)
    sessions = sessions_of(request)
    rows = [row for row in sessions.clients.page(owner, MOST_ROWS)[0] if _matches(row, body)]
    if body.cursor is not None:
        last = (body.cursor.last_created_at.timestamp(), body.cursor.last_session_id)
        rows = [row for row in rows if (row.created_at, row.id) < last]
    page = rows[: body.limit]
    found: dict[str, Any] = {"sessions": [_summary(sessions, row) for row in page]}
    if len(rows) > len(page):
        found["next_cursor"] = {"last_created_at": _time(page[-1].created_at), "last_session_id": page[-1].id}
    return found


@router.get("/sessions/{session_id}/trace_export")
async def trace_export(request: Request, owner: Owner, session_id: str) -> dict[str, Any]:
    """What is recorded of a session, as a JSON file."""
    sessions = sessions_of(request)
    row = sessions.clients.find(owner, session_id)
    models, samplers = sessions.clients.belongings(session_id)
    saved = [_checkpoint(c) for model_id in models for c in sessions.vault.page(owner, model_id, MOST_ROWS)[0]]
    runs = [_run(sessions, sessions.models.find(owner, model_id)) for model_id in models]
    trace = {"session": _summary(sessions, row), "training_runs": runs, "samplers": samplers, "checkpoints": saved}
    file = request.app.state.settings.data_dir / "training" / "traces" / f"{session_id}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, trace)
    return {"status": "ready", "url": files.link(request, file)}


@router.get("/billing/usage/checkpoints/current")
async def checkpoint_storage(request: Request, owner: Owner, project_id: str | None = None) -> dict[str, Any]:
    """Bytes that the owner's checkpoints take, by project; nothing is charged for them."""
    sessions = sessions_of(request)
    of_session = select(SessionRow.project_id, func.count(), func.sum(CheckpointRow.size_bytes))
    joined = of_session.join(ModelRow, ModelRow.session_id == SessionRow.id)
    mine = joined.join(CheckpointRow, CheckpointRow.model_id == ModelRow.id).where(CheckpointRow.owner == owner)
    with sessions.store.read() as db:
        found = db.execute(mine.group_by(SessionRow.project_id)).all()
    return {
        "data": [
            {
                "project_id": project,
                "user_name": owner,
                "checkpoint_count": count,
                "size_bytes": size,
                "size_gigabytes": size / 1e9,
            }
            for project, count, size in found
            if project_id in (None, project)
        ]
    }


@router.get("/auth/apikey/me")
async def key_info(request: Request, owner: Owner) -> dict[str, Any]:
    return {"key_id": owner, "name": owner, "note": "", "details": {}}


def _page(limit: int, offset: int) -> tuple[int, int]:
    if not (limit >= 0 and 0 <= offset < 1 << 31):
        raise UserError("limit, offset", f"{limit} and {offset} are no page", "Give numbers from 0 up")
    return min(limit, MOST_ROWS), offset


def _path(model_id: str, kind: str, name: str) -> str:
    if kind not in TYPES:
        raise NotFound(kind, "no such kind of checkpoint", f"Known: {', '.join(TYPES)}")
    return f"tinker://{model_id}/{kind}/{name}"


def _run(sessions: Sessions, row: ModelRow) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for kind, field in (("weights", "last_checkpoint"), ("sampler_weights", "last_sampler_checkpoint")):
        found = next((c for c in sessions.vault.page(row.owner, row.id, MOST_ROWS)[0] if c.kind == kind), None)
        last |= {} if found is None else {field: _checkpoint(found)}
    return {
        "training_run_id": row.id,
        "base_model": row.base_model,
        "model_owner": row.owner,
        "is_lora": True,
        "corrupted": False,
        "lora_rank": row.rank,
        "last_request_time": _time(row.last_request_at),
        "user_metadata": row.user_metadata,
        **last,
    }


def _checkpoints(sessions: Sessions, owner: str, model_id: str | None, limit: int, offset: int) -> dict[str, Any]:
    rows, total = sessions.vault.page(owner, model_id, limit, offset)
    cursor = {"offset": offset, "limit": limit, "total_count": total}
    return {"checkpoints": [_checkpoint(row) for row in rows], "cursor": cursor}


def _checkpoint(row: CheckpointRow) -> dict[str, Any]:
    expires = {} if row.expires_at is None else {"expires_at": _time(row.expires_at)}
    return {
        "checkpoint_id": f"{row.kind}/{row.name}",
        "checkpoint_type": TYPES[row.kind],
        "time": _time(row.created_at),
        "tinker_path": row.path,
        "size_bytes": row.size_bytes,
        "public": row.public,
        "user_metadata": row.user_metadata,
        **expires,
    }


def _matches(row: SessionRow, body: schemas.SearchSessions) -> bool:
    words = (body.display_name or "").lower().split()
    named = bool(words) and all(word in (row.display_name or "").lower() for word in words)
    either = row.id == body.session_id or named
    metadata = all(row.user_metadata.get(k) == v for k, v in (body.user_metadata or {}).items())
    status = body.statuses is None or any(_asked_for(row, query) for query in body.statuses)
    return (either or (body.session_id is None and not words)) and metadata and status


def _asked_for(row: SessionRow, query: schemas.StatusQuery) -> bool:
    if query.type == "active":
        return row.ended_at is None
    if query.type != "client_finished":
        return False
    return row.ended_at is not None and row.ending != LOST and (query.reasons is None or row.ending in query.reasons)


def _status(row: SessionRow) -> dict[str, Any]:
    """Nothing where the client fell silent."""
    if row.ended_at is None:
        return {"status": {"type": "active"}}
    return {} if row.ending == LOST else {"status": {"type": "client_finished", "reason": {"type": row.ending}}}


def _summary(sessions: Sessions, row: SessionRow) -> dict[str, Any]:
    with sessions.store.read() as db:
        mine = select(CheckpointRow).join(ModelRow, ModelRow.id == CheckpointRow.model_id)
        saved = db.scalars(mine.where(ModelRow.session_id == row.id)).all()
    return {
        "session_id": row.id,
        "created_at": _time(row.created_at),
        "owner": row.owner,
        "project_id": row.project_id or "",
        "checkpoints_count": len(saved),
        "display_name": row.display_name,
        "user_metadata": row.user_metadata,
        "checkpoint_storage_bytes": sum(c.size_bytes for c in saved),
        **_status(row),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
