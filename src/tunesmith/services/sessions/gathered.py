"""What a gradient was accumulated over since the last update: what some clients want it divided by."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from tunesmith.core.errors import UserError
from tunesmith.core.types import Datum
from tunesmith.services.sessions.shape import Divisor

FILE = "gathered.json"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Counts over all data passed forward and backward."""

    num_loss_tokens: int = 0
    """Targets whose weight is not 0."""
    num_sequences: int = 0

    def plus(self, data: Sequence[Datum]) -> "Gathered":
        tokens = sum(int(np.count_nonzero(d.weights)) for d in data)
        return Gathered(self.num_loss_tokens + tokens, self.num_sequences + len(data))

    def divisor(self, name: Divisor) -> int:
        """
        Raises:
            UserError: there is nothing to divide by.
        """
        if name == "none":
            return 1
        count: int = getattr(self, name)
        if not count:
            problem = f"{name} is 0: no token of the data since the last step has a weight"
            raise UserError("grad_accumulation_normalization", problem, "Send data with weights first, or leave it out")
        return count


def divide_gradient(parameters: Iterable[Tensor], divisor: int) -> None:
    """In place; dividing by 1 changes no bit."""
    for parameter in parameters:
        if parameter.grad is not None and divisor != 1:
            parameter.grad /= divisor


def write_gathered(folder: Path, gathered: Gathered) -> None:
    """Beside the gradient of a saved state."""
    (folder / FILE).write_text(json.dumps(asdict(gathered)), "utf-8")


def read_gathered(folder: Path) -> Gathered:
    """Of a saved state; nothing where it was an adapter, which has no gradient."""
    file = folder / FILE
    return Gathered(**json.loads(file.read_text("utf-8"))) if file.is_file() else Gathered()
