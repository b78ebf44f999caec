"""Preference tuning: pairs of a better and a worse answer."""

import math
from typing import Annotated, Literal

from pydantic import Field

from tunesmith.spec.base import TrainSpec


class DpoSpec(TrainSpec):
    """A managed DPO or ORPO job."""

    kind: Literal["dpo"] = "dpo"
    """Kind of job."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Step size of AdamW; preference tuning wants about a tenth of the rate of SFT."""
    batch_size_samples: Annotated[int, Field(ge=1)] = 4
    """Pairs per optimizer update."""
    preference_loss: Literal["dpo", "orpo"] = "dpo"
    """dpo compares with a reference; orpo needs none and adds the likelihood of the better answer."""
    dpo_beta: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """How strongly dpo holds to the reference, between 0 and 0.5."""
    orpo_lambda: Annotated[float, Field(ge=0)] = 0.1
    """Weight of orpo's odds-ratio term."""

    def num_steps(self, rows: int) -> int:
        return math.ceil(rows / self.batch_size_samples) * self.epochs
