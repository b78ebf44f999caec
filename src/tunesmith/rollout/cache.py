"""Keys and values of running completions: one block per prompt, shared by its group, and one per completion.

Legend: L layers, G groups, R rows (completions), P longest prompt, S longest completion, kv heads, d head size.
Sums run over ``key_places``, where masked ones add exact zeros, so no result depends on who else is running.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
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

    def move(self, source: int, target: int, length: int) -> None:
        for x in (*self.keys, *self.values):
            x[target, :, :length] = x[source, :, :length]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the rows of one decoding step are, and what each may see. R counts padding rows too."""

    group: Tensor
    """[R] group slot; padding rows have one of their own."""
    seat: Tensor
    """[R] place within the group, 0..W-1."""
    rows: Tensor
    """[R] 0..R-1."""
    at: Tensor
    """[R] place of the new token in the row's own block."""
    bias: Mapping[int | None, Tensor]
    """Sliding window (None: full) -> [R, 1, 1, P + S], 0 where a row may look, -inf elsewhere."""
    groups: int
    width: int
    prompt: int
    """P of this step."""
    own: int
    """S of this step."""


class CachedAttention:
    """One new token per row: it sees its group's prompt and its own completion so far."""

    def __init__(self, prompts: Block, own: Block, step: Step, windows: Sequence[int | None]) -> None:
        self.prompts, self.own, self.step, self.windows = prompts, own, step, windows

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        s = self.step
        count, heads, size = q.shape
        kv = k.shape[1]
        own_k, own_v = self.own.keys[layer], self.own.values[layer]
        own_k[s.rows, :, s.at] = k
        own_v[s.rows, :, s.at] = v
        own_k, own_v = own_k[:count, :, : s.own], own_v[:count, :, : s.own]
        prompt_k = self.prompts.keys[layer][: s.groups, :, : s.prompt]
        prompt_v = self.prompts.values[layer][: s.groups, :, : s.prompt]
        q = (q * size**-0.5).view(count, kv, heads // kv, size)
        to_prompt = self._seated(q) @ prompt_k.transpose(-1, -2)  # [G, kv, W * rep, P]
        repeat = q.shape[2]
        q = F.pad(q, (0, 0, 0, max(0, FEWEST_ROWS - repeat)))
        to_own = (q @ own_k.transpose(-1, -2))[:, :, :repeat]
        scores = torch.cat([self._unseated(to_prompt), to_own], -1)
        weights = (scores + s.bias[self.windows[layer]]).softmax(-1)  # [R, kv, rep, P + S]
        of_prompt, of_own = weights.split([s.prompt, s.own], -1)
        of_own = F.pad(of_own, (0, 0, 0, max(0, FEWEST_ROWS - repeat)))
        out = self._unseated(self._seated(of_prompt) @ prompt_v) + (of_own @ own_v)[:, :, :repeat]
        merged: Tensor = out.reshape(count, -1)
        return merged

    def _seated(self, x: Tensor) -> Tensor:
        """[R, kv, rep, n] by row -> [G, kv, W * rep, n] by group and seat; empty seats are 0."""
        s = self.step
        _, kv, rep, n = x.shape
        table = x.new_zeros(s.groups, kv, s.width, rep, n)
        table[s.group, :, s.seat] = x
        return table.view(s.groups, kv, s.width * rep, n)

    def _unseated(self, x: Tensor) -> Tensor:
        """[G, kv, W * rep, n] -> [R, kv, rep, n]."""
        s = self.step
        groups, kv, _, n = x.shape
        return x.view(groups, kv, s.width, -1, n)[s.group, :, s.seat]
