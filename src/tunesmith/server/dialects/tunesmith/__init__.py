"""Our own wire below ``/api/v1``: jobs, evaluations, datasets, evaluators and models in the words of the specs.

Thin routes over the services. The Training API of the Tinker client has other nouns at the same root.
"""

from tunesmith.server.dialects.tunesmith import (
    datasets,
    deployments,
    errands,
    evaluations,
    evaluators,
    job_files,
    job_streams,
    jobs,
    keys,
    models,
    offspring,
    secrets,
    unknown,
)
from tunesmith.server.routing import Router

router = Router(prefix="/api/v1")
for part in (
    jobs,
    errands,
    offspring,
    job_streams,
    job_files,
    evaluations,
    datasets,
    evaluators,
    models,
    deployments,
    secrets,
    keys,
    unknown,
):
    router.include_router(part.router)

__all__ = ["router"]
