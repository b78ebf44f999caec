"""One decoding step: a new token per row, which sees the row's prompt and the row's own tokens so far.

Legend: R rows (completions) with their padding, G prompts and one for padding rows, W seats of a prompt, P places of
the longest prompt, S places of the longest completion, kv heads, rep query heads of each, d head size, w window.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.models.config import DecoderConfig
from tunesmith.models.decoder import Decoder
from tunesmith.models.exact_attention import FEWEST_ROWS, key_places, round_up
from tunesmith.rollout.cache import Block
from tunesmith.rollout.prompts import ROWS, Prompt


class Layout:
    """Where the rows of a batch are and what each may see; good until one joins or leaves, or ``full``."""

    def __init__(
        self, model: Decoder, own: Block, prompts: Sequence[Prompt], tokens: Sequence[Sequence[int]], slots: int
    ) -> None:
        """
        Args:
            own: where the rows keep their keys and values; room for the step is made here.
            prompts: [R real rows] that each continues.
            tokens: [R real rows] its own so far, at least one.
            slots: prompts in the cache; the slot after them is for padding rows.
        """
        config, device = model.config, model.device
        real, count = len(prompts), round_up(len(prompts), ROWS)
        slot, seat, before, at, newest = np.zeros((5, count), np.int64)
        slot[:real], slot[real:] = [p.slot for p in prompts], slots
        seat[:real] = _seats(slot[:real])
        before[:real] = [len(p.tokens) for p in prompts]
        at[:real] = [len(t) - 1 for t in tokens]
        newest[:real] = [t[-1] for t in tokens]
        self.groups, self.prompt = slots + 1, key_places(int(before.max()))
        self._reached = int(at.max()) + 1
        self.own = key_places(self._reached)
        own.reserve(count, self.own)
        width = round_up(max(4, int(seat.max()) + 1), 2)
        repeat = config.heads // config.kv_heads
        tables = (*_seating(slot, seat, self.groups, width, config.kv_heads, repeat), _several(count, config))
        columns = (*tables, at, newest, before + at, before)
        moved = [torch.from_numpy(x).to(device) for x in columns]
        self.seats, self.seat_of, self.several, self.at, self.tokens, self.positions, self._before = moved
        self.row = torch.arange(count, device=device)
        self.bias: dict[int | None, Tensor] = {}
        for window in set(config.windows):
            seen = _seen(before, at, self.prompt, self.own, window)
            self.bias[window] = torch.from_numpy(np.where(seen, np.float32(0), np.float32(-np.inf))).to(
                device, model.embed.dtype
            )

    @property
    def full(self) -> bool:
        """The next token of some row has no place."""
        return self._reached == self.own

    def advance(self, tokens: Tensor) -> None:
        """The same rows one step on, with the [R real rows] tokens that were drawn."""
        self.tokens[: len(tokens)] = tokens
        self._reached += 1
        for x in (self.at, self.positions):
            x += 1
        own = self.at + self.prompt
        for window, bias in self.bias.items():
            bias[self.row, own] = 0
            if window is not None:
                self._close(bias, self.positions - window)

    def _close(self, bias: Tensor, position: Tensor) -> None:
        """Take from each row's sight a [R] position, negative ones aside."""
        place = torch.where(position < self._before, position, position - self._before + self.prompt).clamp_(min=0)
        bias[self.row, place] = bias[self.row, place].masked_fill_(position >= 0, -torch.inf)


def _seats(slot: NDArray[np.int64]) -> NDArray[np.int64]:
    """[R] prompt of each row -> [R] how many rows before it have the same."""
    order = slot.argsort(kind="stable")
    _, begin, count = np.unique(slot[order], return_index=True, return_counts=True)
    seats = np.empty_like(slot)
    seats[order] = np.arange(len(slot)) - begin.repeat(count)
    return seats


def _seating(
    slot: NDArray[np.int64], seat: NDArray[np.int64], groups: int, width: int, kv: int, repeat: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([G * kv * W * rep] which of the R * kv * rep query heads sits here, the other way round).

    An empty seat repeats the first head, and nobody reads it.
    """
    heads = np.arange(len(slot) * kv * repeat).reshape(-1, kv, repeat)
    table = np.zeros((groups, kv, width, repeat), np.int64)
    table[slot, :, seat] = heads
    place = np.arange(table.size).reshape(table.shape)
    return table.ravel(), place[slot, :, seat].ravel()


def _several(count: int, config: DecoderConfig) -> NDArray[np.int64]:
    """[R * kv * max(rep, FEWEST_ROWS)] query heads of each key head; too few are filled up with the last."""
    heads = np.arange(count * config.heads).reshape(count, config.kv_heads, -1)
    few = max(0, FEWEST_ROWS - heads.shape[-1])
    return np.pad(heads, ((0, 0), (0, 0), (0, few)), "edge").ravel()


def _seen(
    before: NDArray[np.int64], at: NDArray[np.int64], prompt: int, own: int, window: int | None
) -> NDArray[np.bool_]:
    """[R, P + S] True at each row's own prompt and its own tokens so far."""
    place = np.arange(prompt + own)[None]
    seen = (place < before[:, None]) | ((place >= prompt) & (place - prompt <= at[:, None]))
    if window is not None:
        position = np.where(place < prompt, place, before[:, None] + place - prompt)
        seen &= position > (before + at)[:, None] - window
    return seen


class CachedAttention:
    """Attention over what the cache holds, good for as long as its layout: few and plain operations, for at one token
    per row it is their number that costs."""

    def __init__(self, prompts: Block, own: Block, layout: Layout, windows: Sequence[int | None]) -> None:
        self.own, self.layout, self.windows = own, layout, windows
        count, layers = len(layout.tokens), range(len(windows))
        self._prompts = [prompts.heads(i, layout.groups, layout.prompt) for i in layers]
        self._own = [own.heads(i, count, layout.own) for i in layers]
        self._bias = {window: bias[:, None, None] for window, bias in layout.bias.items()}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        at = self.layout
        (count, heads, size), kv = q.shape, k.shape[1]
        self.own.append(layer, at.row, at.at, k, v)
        (prompt_k, prompt_v), (own_k, own_v) = self._prompts[layer], self._own[layer]
        q = (q * size**-0.5).view(-1, size)  # [R * kv * rep, d]
        to_prompt = torch.bmm(_taken(q, at.seats, len(prompt_k)), prompt_k)
        to_own = torch.bmm(_taken(q, at.several, len(own_k)), own_k)  # [R * kv, rep or more, S]
        own = to_own.view(count, kv, -1, at.own)[:, :, : heads // kv]
        before = to_prompt.view(-1, at.prompt).index_select(0, at.seat_of).view(count, kv, -1, at.prompt)
        scores = torch.cat([before, own], -1).add_(self._bias[self.windows[layer]])
        of_prompt, of_own = scores.softmax(-1).view(-1, at.prompt + at.own).split([at.prompt, at.own], -1)
        mixed = torch.bmm(_taken(of_prompt, at.seats, len(prompt_k)), prompt_v).view(-1, size)
        own = torch.bmm(_taken(of_own, at.several, len(own_k)), own_v).view(count, kv, -1, size)[:, :, : heads // kv]
        return mixed.index_select(0, at.seat_of).view(own.shape).add_(own).view(count, -1)


def _taken(x: Tensor, table: Tensor, matrices: int) -> Tensor:
    """[R * kv * rep, n] -> [matrices, rows, n] in the order of a table."""
    return x.index_select(0, table).view(matrices, -1, x.shape[-1])
