"""The control plane of Fireworks' managed service: datasets, jobs, models, deployments, secrets and users."""

from fastapi import APIRouter

from tunesmith.server.dialects.fireworks.managed import datasets, evaluation_jobs, jobs, secrets, users

router = APIRouter()
for part in (datasets, jobs, secrets, users, evaluation_jobs):
    router.include_router(part.router)

__all__ = ["router"]
