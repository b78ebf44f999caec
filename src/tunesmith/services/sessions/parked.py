"""Where policies and snapshots lie on disk while nobody uses them, and when they are given up."""

import shutil
from pathlib import Path

from sqlalchemy import select

from tunesmith.services.sessions.rows import ModelRow, SamplerRow, SessionRow, now
from tunesmith.services.store import Store

KEPT_SECONDS = 7 * 24 * 3600.0
"""A client that was lost may be back within a week."""
LIVE, PARKED, FREED = "live", "parked", "freed"


def policy_folder(folder: Path, model_id: str) -> Path:
    """A policy's state between two times in memory."""
    return folder / "parked" / model_id.replace(":", "_")


def snapshot_folder(folder: Path, key: str) -> Path:
    """Sampler weights that have no name of their own."""
    return folder / "snapshots" / key.replace(":", "_")


def give_up(store: Store, folder: Path) -> None:
    """Remove what sessions left that ended more than a week ago."""
    ended = select(SessionRow.id).where(SessionRow.ended_at < now() - KEPT_SECONDS)
    with store.begin() as db:
        for model in db.scalars(select(ModelRow).where(ModelRow.session_id.in_(ended), ModelRow.state == PARKED)):
            model.state = FREED
            shutil.rmtree(policy_folder(folder, model.id), ignore_errors=True)
        unnamed = SamplerRow.model_path.is_(None), SamplerRow.weights != ""
        for key in db.scalars(select(SamplerRow.weights).where(SamplerRow.session_id.in_(ended), *unnamed)):
            shutil.rmtree(snapshot_folder(folder, key), ignore_errors=True)
