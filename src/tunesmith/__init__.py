"""Tunesmith: open fine-tuning.

Jobs: ``tunesmith.rft.run(spec)``, ``tunesmith.sft.run(spec)``, ``tunesmith.dpo.run(spec)``. Your own loop:
``tunesmith.TrainingClient``. Losses on numbers you can check by hand: ``tunesmith.losses.evaluate``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith import dpo, losses, rft, sft
    from tunesmith.services.training_client import TrainingClient

__version__ = "0.1.0"
__all__ = ["TrainingClient", "dpo", "losses", "rft", "sft"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then."""
    if name == "TrainingClient":
        return import_module("tunesmith.services.training_client").TrainingClient
    if name in __all__:
        return import_module(f"tunesmith.{name}")
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
