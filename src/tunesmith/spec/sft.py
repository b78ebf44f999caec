"""Supervised fine-tuning: show the model conversations, train what the assistant says."""

import math
from typing import Annotated, Literal

from pydantic import Field

from tunesmith.spec.base import TrainSpec


class SftSpec(TrainSpec):
    """A managed SFT job."""

    kind: Literal["sft"] = "sft"
    """Kind of job."""
    batch_size_samples: Annotated[int, Field(ge=1)] = 32
    """Conversations per optimizer update."""

    def num_steps(self, rows: int) -> int:
        return math.ceil(rows / self.batch_size_samples) * self.epochs
