"""The Training API behind every wire: sessions, models, samplers, futures and checkpoints over engine processes."""

from tunesmith.services.sessions.clients import Introduction
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.sessions.shape import Managed, PolicyShape

__all__ = ["Introduction", "Managed", "PolicyShape", "Sessions"]
