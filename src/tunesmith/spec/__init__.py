"""What a user may ask for: the settings of every kind of job, their bounds, and the wording of refusals."""

from tunesmith.spec.base import TrainSpec
from tunesmith.spec.dpo import DpoSpec
from tunesmith.spec.load import AnySpec, build_spec, read_spec
from tunesmith.spec.loss import METHODS, PolicyLoss, method_loss
from tunesmith.spec.rft import RftSpec
from tunesmith.spec.sft import SftSpec

__all__ = [
    "METHODS",
    "AnySpec",
    "DpoSpec",
    "PolicyLoss",
    "RftSpec",
    "SftSpec",
    "TrainSpec",
    "build_spec",
    "method_loss",
    "read_spec",
]
