"""The wire of OpenAI: inference (models, chat completions, completions; messages too), and fine-tuning with files."""

from tunesmith.server.dialects.openai import (
    chat,
    completions,
    files,
    fine_tuning,
    grader_runs,
    messages,
    models,
    traced_chat,
    uploads,
)
from tunesmith.server.routing import Router

router = Router()
for root in ("/v1", "/inference/v1", ""):
    for part in (models, chat, completions, messages):
        # Without a root, /models would stand before the hub's addresses; /messages no client asks for there.
        if root or part not in (models, messages):
            router.include_router(part.router, prefix=root)
router.include_router(traced_chat.router)
for part in (files, uploads, fine_tuning, grader_runs):
    router.include_router(part.router, prefix="/v1")

__all__ = ["router"]
