"""AdamW (1711.05101) over named tensors: torch's own kernel, and the moments under the names they are saved by.

``torch.optim.AdamW`` computes the same, but to make one loads torch's compiler: 36 MB, and a second or more.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from tunesmith.core.types import AdamParams

SLOTS = ("step", "exp_avg", "exp_avg_sq")


class AdamW:
    """The optimizer of one policy; a tensor's moments begin with its first gradient."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = parameters
        self._state: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, params: AdamParams) -> None:
        """Update every tensor that has a gradient."""
        moving = {name: t for name, t in self.parameters.items() if t.grad is not None}
        for name, tensor in moving.items():
            if name not in self._state:
                count = torch.zeros((), device=tensor.device)
                self._state[name] = dict(
                    zip(SLOTS, (count, torch.zeros_like(tensor), torch.zeros_like(tensor)), strict=True)
                )
        state = [self._state[name] for name in moving]
        steps, first, second = ([s[slot] for s in state] for slot in SLOTS)
        adamw(
            list(moving.values()),
            [t.grad for t in moving.values() if t.grad is not None],
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=params.beta1,
            beta2=params.beta2,
            lr=params.learning_rate,
            weight_decay=params.weight_decay,
            eps=params.eps,
            maximize=False,
        )

    def clear(self) -> None:
        self._state.clear()

    def state(self) -> dict[str, Tensor]:
        """By ``name.slot``."""
        return {f"{name}.{slot}": value for name, slots in self._state.items() for slot, value in slots.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        self.clear()
        for key, value in state.items():
            name, _, slot = key.rpartition(".")
            self._state.setdefault(name, {})[slot] = value.to(self.parameters[name].device)
