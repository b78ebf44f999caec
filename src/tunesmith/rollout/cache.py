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
    """[2, slots, kv, length, d] of every layer, keys before values; slots and length grow as needed."""

    def __init__(self, config: DecoderConfig, device: torch.device, dtype: torch.dtype) -> None:
        empty = torch.zeros(2, 0, config.kv_heads, 0, config.head_dim, device=device, dtype=dtype)
        self.layers = [empty] * config.layers

    def reserve(self, slots: int, length: int) -> None:
        """Make room; what is stored stays."""
        _, have_slots, _, have_length, _ = self.layers[0].shape
        if slots <= have_slots and length <= have_length:
            return
        slots = max(round_up(slots, 16), have_slots)
        length = max(key_places(length), have_length)
        self.layers = [_grown(x, slots, length) for x in self.layers]

    def put(self, slot: int, layer: int, k: Tensor, v: Tensor) -> None:
        """Store [n, kv, d] at the beginning of a slot."""
        for block, new in zip(self.layers[layer], (k, v), strict=True):
            block[slot, :, : len(new)] = new.transpose(0, 1)

    def append(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        """Store one token per row, [R, kv, d], at the [2 * R * kv] places of ``places_of``."""
        size = k.shape[-1]
        self.layers[layer].view(-1, size).index_copy_(0, places, torch.stack((k, v)).view(-1, size))

    def places_of(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """[R] position of a token in each row -> [2 * R * kv] where its heads lie, counted in [d] vectors."""
        _, slots, kv, length, _ = self.layers[0].shape
        heads = np.arange(len(at) * kv).reshape(-1, kv)
        keys = (heads * length + at[:, None]).ravel()
        return np.concatenate([keys, keys + slots * kv * length])

    def heads(self, layer: int, slots: int, length: int) -> tuple[Tensor, Tensor]:
        """[slots * kv, length, d] keys and values, one matrix per head; a view, good until the block grows."""
        keys, values = self.layers[layer][:, :slots, :, :length].flatten(1, 2)
        return keys, values

    def move(self, source: int, target: int, length: int) -> None:
        for x in self.layers:
            x[:, target, :, :length] = x[:, source, :, :length]


def _grown(old: Tensor, slots: int, length: int) -> Tensor:
    _, have_slots, kv, have_length, size = old.shape
    new = old.new_zeros(2, slots, kv, length, size)
    new[:, :have_slots, :, :have_length] = old
    return new
