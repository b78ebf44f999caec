"""Preference tuning from Python: ``tunesmith.dpo.run(spec)``."""

from tunesmith.services.facade import runner
from tunesmith.spec import DpoSpec

run = runner(DpoSpec)

__all__ = ["DpoSpec", "run"]
