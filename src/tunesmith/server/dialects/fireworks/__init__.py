"""The wires of Fireworks: its Training SDK with the completions that its sampler reads, and its managed service."""

from tunesmith.server.dialects.fireworks import (
    accounts,
    checkpoints,
    completions,
    evaluators,
    gateway,
    hot_load,
    jobs,
    managed,
    promotion,
    service,
    training,
)
from tunesmith.server.routing import Router

router = Router()
for root in ("/training/v1/serverless", "/training/v1/rlorTrainerJobs/{account}/{job}"):
    for part in (service, training, checkpoints):
        router.include_router(part.router, prefix=f"{root}/api/v1")
for root in ("", "/training/v1/serverless"):
    router.include_router(completions.router, prefix=f"{root}/inference/v1")
for part in (accounts, jobs, hot_load, evaluators, promotion, managed, gateway):
    router.include_router(part.router)

__all__ = ["router"]
