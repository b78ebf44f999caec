"""The control plane of Fireworks' managed service: datasets, jobs, models, deployments, secrets and users."""

from tunesmith.server.dialects.fireworks.managed import (
    datasets,
    deployed_models,
    deployments,
    evaluation_jobs,
    job_checkpoints,
    jobs,
    models,
    secrets,
    users,
)
from tunesmith.server.routing import Router

router = Router()
for part in (datasets, job_checkpoints, jobs, models, deployments, deployed_models, secrets, users, evaluation_jobs):
    router.include_router(part.router)

__all__ = ["router"]
