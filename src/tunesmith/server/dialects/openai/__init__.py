"""The wire of OpenAI's inference: models, chat completions, completions, whole or streamed."""

from fastapi import APIRouter

from tunesmith.server.dialects.openai import chat, completions, models

router = APIRouter()
for root in ("/v1", "/inference/v1", ""):
    for part in (models, chat, completions):
        # Without a root, /models would stand before the hub's addresses.
        if root or part is not models:
            router.include_router(part.router, prefix=root)

__all__ = ["router"]
