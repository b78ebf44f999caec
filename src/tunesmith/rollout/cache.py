"""Keys and values of running completions: one block per prompt, shared by its group, and one per completion.

Legend: L layers, G groups, R rows (completions), P longest prompt, S longest completion, kv heads, d head size.
Sums run over ``key_places``, where masked ones add exact zeros, so no result depends on who else is running.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tunesmith.models.config import DecoderConfig
from tunesmith.models.exact_attention import FEWEST_ROWS, key_places, round_up


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


@dataclass(frozen=True, slots=True)
class Step:
    """Where the rows of one decoding step are, and what each may see. R counts padding rows too, W seats of a group."""

    seats: Tensor
    """[G * kv * W] which of the R * kv row heads sits here; an empty seat repeats the first, and nobody reads it."""
    seat_of: Tensor
    """[R * kv] the other way round."""
    new: Tensor
    """[R * kv] places of the new token in the rows' own block."""
    bias: Mapping[int | None, Tensor]
    """Sliding window (None: full) -> [R, 1, 1, P + S], 0 where a row may look, -inf elsewhere."""
    groups: int
    """G of this step, padding's own group included."""
    prompt: int
    """P of this step."""
    own: int
    """S of this step."""


def seating(
    group: NDArray[np.int64], seat: NDArray[np.int64], groups: int, width: int, kv: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[R] group and [R] seat in it -> ``Step.seats`` and ``Step.seat_of``."""
    heads = np.arange(len(group) * kv).reshape(-1, kv)
    table = np.zeros((groups, kv, width), np.int64)
    table[group, :, seat] = heads
    return table.ravel(), ((group[:, None] * kv + np.arange(kv)) * width + seat[:, None]).ravel()


class CachedAttention:
    """One new token per row: it sees its group's prompt and its own completion so far."""

    def __init__(self, prompts: Block, own: Block, step: Step, windows: Sequence[int | None]) -> None:
        self.prompts, self.own, self.step, self.windows = prompts, own, step, windows

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        s = self.step
        count, heads, size = q.shape
        kv, repeat = k.shape[1], heads // k.shape[1]
        self.own.append(layer, s.new, k, v)
        own_k, own_v = (x[layer][:count, :, : s.own] for x in (self.own.keys, self.own.values))
        prompt_k, prompt_v = (x[layer][: s.groups, :, : s.prompt] for x in (self.prompts.keys, self.prompts.values))
        few = (0, 0, 0, max(0, FEWEST_ROWS - repeat))
        q = (q * size**-0.5).reshape(count, kv, repeat, size)
        to_prompt = self._unseated(self._seated(q) @ prompt_k.transpose(-1, -2), repeat)
        to_own = (F.pad(q, few) @ own_k.transpose(-1, -2))[:, :, :repeat]
        scores = torch.cat([to_prompt, to_own], -1).add_(s.bias[self.windows[layer]])
        of_prompt, of_own = scores.softmax(-1).split([s.prompt, s.own], -1)  # [R, kv, rep, P] and [R, kv, rep, S]
        out = self._unseated(self._seated(of_prompt) @ prompt_v, repeat)
        return out.add_((F.pad(of_own, few) @ own_v)[:, :, :repeat]).view(count, -1)

    def _seated(self, x: Tensor) -> Tensor:
        """[R, kv, rep, n] by row -> [G, kv, W * rep, n] by group and seat."""
        count, kv, repeat, n = x.shape
        taken = x.reshape(count * kv, repeat * n).index_select(0, self.step.seats)
        return taken.view(self.step.groups, kv, -1, n)

    def _unseated(self, x: Tensor, repeat: int) -> Tensor:
        """[G, kv, W * rep, n] -> [R, kv, rep, n]."""
        _, kv, _, n = x.shape
        return x.view(-1, repeat * n).index_select(0, self.step.seat_of).view(-1, kv, repeat, n)
