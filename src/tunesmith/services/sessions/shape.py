"""What a policy trains: the rank of its adapter and which linears it sits on; what its gradient is divided by."""

from dataclasses import dataclass
from typing import Literal

from tunesmith.core.errors import UserError
from tunesmith.core.types import PLAIN_SUM, Norm

LARGEST_RANK = 512
Divisor = Literal["none", "num_loss_tokens", "num_sequences"]
"""Before an update: of all that was passed forward and backward since the last one, tokens with a weight or datums."""


@dataclass(frozen=True, slots=True)
class PolicyShape:
    """A fresh adapter: its rank, where it sits, and the seed of its first factor."""

    rank: int
    attention: bool = True
    mlp: bool = True
    head: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= LARGEST_RANK:
            problem = f"must be positive and at most {LARGEST_RANK} (got {self.rank})"
            mend = "Give a rank such as 8 or 32; all weights are trained by managed jobs, with lora_rank 0"
            raise UserError("lora_config.rank", problem, mend)
        if not (self.attention or self.mlp or self.head):
            problem = "At least one of train_unembed, train_mlp, or train_attn must be True"
            raise UserError("lora_config", problem, "Leave them out to train all three")


@dataclass(frozen=True, slots=True)
class Managed:
    """A pass as the recipes of managed jobs ask for it: sums are divided, and prompts are not scored."""

    norm: Norm = PLAIN_SUM
    reference: bool = False
    """A forward of the weights at the start of the job."""
