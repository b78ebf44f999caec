"""``.../checkpoints`` of managed jobs: what a job goes on from and what it ended with, to be promoted."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import job_objects, model_objects
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, id_in, read
from tunesmith.server.dialects.fireworks.managed.creating import taken
from tunesmith.server.dialects.fireworks.managed.job_routes import Found, each
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing
from tunesmith.services.checkpoints import ADAPTER, MODEL
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.tuned_models import TunedModels

router = new_router()
FINAL = "final"
"""The checkpoint of the weights that a job ended with."""


class Promote(Wire):
    output_model: str = ""


@each(router, "GET", "/{job_id}/checkpoints")
def checkpoints(request: Request, job: Found, listing: Listing) -> Mapping[str, Any]:
    jobs: Jobs = request.app.state.jobs
    run = jobs.run(job.owner, job.id).path
    whole = job.settings.get("lora_rank", 8) == 0
    kept = [_shown(job, folder, "TRAINING" if whole else "TRAINING_LORA") for folder in run.glob("checkpoints/step-*")]
    ended = [_shown(job, run / name, kind, FINAL, True) for name, kind in FINALS if (run / name).is_dir()]
    return listing.page("checkpoints", [*kept, *ended])


@each(router, "POST", "/{job_id}/checkpoints/{name}:promote")
async def promote(request: Request, job: Found, name: str) -> Mapping[str, Any]:
    """A model of its own: of the weights that a job ended with, or of a checkpoint that it keeps while it is kept."""
    body = await read(request, Promote)
    tuned: TunedModels = request.app.state.tuned_models
    base_model, folder = _weights(request, job, name)
    output = id_in("output_model", job.owner, "models", body.output_model)
    with taken(output):
        await asyncio.to_thread(tuned.copy_of, job.owner, output, base_model, folder, job.id)
    return {"model": model_objects.own(request, job.owner, output)}


def _weights(request: Request, job: Job, name: str) -> tuple[str, Path]:
    """(base model, folder of weights) of a checkpoint."""
    jobs: Jobs = request.app.state.jobs
    tuned: TunedModels = request.app.state.tuned_models
    made = tuned.get(job.owner, job.output_model)
    if name == FINAL and made is not None and made.job_id == job.id:
        return made.base_model, made.folder
    for kept in jobs.kept.of(job):
        if kept.folder.parent.name == name:
            return kept.base_model, kept.folder
    mend = f"Promote {FINAL} of a job that has ended, or a step that the job still keeps"
    raise NotFound(name[:100], "is no checkpoint that can be promoted", mend)


FINALS = (("adapter", "INFERENCE_LORA"), ("model", "INFERENCE_BASE"))
"""Folder of a run -> type of checkpoint."""


def _shown(job: Job, folder: Path, kind: str, name: str = "", promotable: bool = False) -> Body:
    saved = datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
    at = saved.replace("+00:00", "Z")
    return {
        "name": f"{job_objects.name_of(job)}/checkpoints/{name or folder.name}",
        "createTime": at,
        "updateTime": at,
        "checkpointType": f"CHECKPOINT_TYPE_{kind}",
        "promotable": promotable or any((folder / name).is_dir() for name in (ADAPTER, MODEL)),
    }
