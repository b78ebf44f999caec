"""Reinforcement fine-tuning from Python: ``tunesmith.rft.run(spec)``."""

from tunesmith.services.facade import runner
from tunesmith.spec import RftSpec

run = runner(RftSpec)

__all__ = ["RftSpec", "run"]
