"""Keys and values of running completions: one block for prompts, one for what each completion added.

Legend: R rows (completions), kv heads, d head size. Sums run over ``key_places``, where masked ones add exact zeros,
so no result depends on who else is running.
"""

import torch
from torch import Tensor

from tunesmith.models.config import DecoderConfig
from tunesmith.models.exact_attention import key_places, round_up


class Block:
    """Keys [slots, kv, d, length] and values [slots, kv, length, d] of every layer; slots and length grow as needed.

    Both lie as a product with a few rows takes them: turned the other way, all keys would be copied for every token.
    """

    def __init__(self, config: DecoderConfig, device: torch.device, dtype: torch.dtype) -> None:
        def empty(*shape: int) -> list[Tensor]:
            return [torch.zeros(0, config.kv_heads, *shape, device=device, dtype=dtype)] * config.layers

        self.keys, self.values = empty(config.head_dim, 0), empty(0, config.head_dim)

    def reserve(self, slots: int, length: int) -> None:
        """Make room; what is stored stays."""
        have_slots, _, have_length, size = self.values[0].shape
        if slots <= have_slots and length <= have_length:
            return
        slots = max(round_up(slots, 16), have_slots)
        length = max(key_places(length), have_length)
        self.keys = [_grown(x, slots, size, length) for x in self.keys]
        self.values = [_grown(x, slots, length, size) for x in self.values]

    def put(self, slot: int, layer: int, k: Tensor, v: Tensor) -> None:
        """Store [n, kv, d] at the beginning of a slot."""
        self.keys[layer][slot, :, :, : len(k)] = k.permute(1, 2, 0)
        self.values[layer][slot, :, : len(v)] = v.transpose(0, 1)

    def append(self, layer: int, rows: Tensor, at: Tensor, k: Tensor, v: Tensor) -> None:
        """Store one token per row, [R, kv, d], at its [R] place."""
        self.keys[layer][rows, :, :, at] = k
        self.values[layer][rows, :, at] = v

    def heads(self, layer: int, slots: int, length: int) -> tuple[Tensor, Tensor]:
        """[slots * kv, d, length] keys and [slots * kv, length, d] values; views, good until the block grows."""
        keys, values = self.keys[layer][:slots, ..., :length], self.values[layer][:slots, :, :length]
        return keys.flatten(0, 1), values.flatten(0, 1)

    def move(self, source: int, target: int, length: int) -> None:
        for keys, values in zip(self.keys, self.values, strict=True):
            keys[target, ..., :length] = keys[source, ..., :length]
            values[target, :, :length] = values[source, :, :length]


def _grown(old: Tensor, slots: int, *shape: int) -> Tensor:
    new = old.new_zeros(slots, old.shape[1], *shape)
    new[: old.shape[0], :, : old.shape[2], : old.shape[3]] = old
    return new
