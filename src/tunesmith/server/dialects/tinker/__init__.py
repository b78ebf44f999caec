"""The wire of the Tinker client: protobuf and JSON in, futures out."""

from tunesmith.server.dialects.tinker import archive, sampling, service, training
from tunesmith.server.routing import Router

router = Router(prefix="/api/v1")
for part in (service, training, sampling, archive):
    router.include_router(part.router)

__all__ = ["router"]
