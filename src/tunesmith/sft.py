"""Supervised fine-tuning from Python: ``tunesmith.sft.run(spec)``."""

from tunesmith.services.facade import runner
from tunesmith.spec import SftSpec

run = runner(SftSpec)

__all__ = ["SftSpec", "run"]
