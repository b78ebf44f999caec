"""Keys and values of running completions: one block for prompts, one for what each completion added.

Legend: R rows (completions), kv heads, d head size. Sums run over ``key_places``, where masked ones add exact zeros,
so no result depends on who else is running.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.models.config import DecoderConfig
from tunesmith.models.exact_attention import key_places, round_up


class Block:
    """[slots, kv, length, d] keys and values of every layer; both sizes grow as needed."""

    def __init__(self, config: DecoderConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._shape = (config.kv_heads, config.head_dim)
        empty = torch.zeros(0, config.kv_heads, 0, config.head_dim, device=device, dtype=dtype)
        self.keys = [empty] * config.layers
        self.values = [empty] * config.layers

    def reserve(self, slots: int, length: int) -> None:
        """Make room; what is stored stays."""
        have_slots, _, have_length, _ = self.keys[0].shape
        if slots <= have_slots and length <= have_length:
            return
        slots = max(round_up(slots, 16), have_slots)
        length = max(key_places(length), have_length)
        self.keys = [self._grown(x, slots, length) for x in self.keys]
        self.values = [self._grown(x, slots, length) for x in self.values]

    def _grown(self, old: Tensor, slots: int, length: int) -> Tensor:
        new = old.new_zeros(slots, self._shape[0], length, self._shape[1])
        new[: old.shape[0], :, : old.shape[2]] = old
        return new

    def put(self, slot: int, layer: int, k: Tensor, v: Tensor) -> None:
        """Store [n, kv, d] at the beginning of a slot."""
        self.keys[layer][slot, :, : len(k)] = k.transpose(0, 1)
        self.values[layer][slot, :, : len(v)] = v.transpose(0, 1)

    def append(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        """Store one token per row, [R, kv, d], at the [R * kv] places of ``places_of``."""
        for block, new in ((self.keys[layer], k), (self.values[layer], v)):
            block.view(-1, self._shape[1]).index_copy_(0, places, new.reshape(-1, self._shape[1]))

    def places_of(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """[R] position of a token in each row -> [R * kv] where its heads lie, counted in [d] vectors."""
        _, kv, length, _ = self.keys[0].shape
        heads = np.arange(len(at) * kv).reshape(-1, kv)
        return (heads * length + at[:, None]).ravel()

    def move(self, source: int, target: int, length: int) -> None:
        for x in (*self.keys, *self.values):
            x[target, :, :length] = x[source, :, :length]
