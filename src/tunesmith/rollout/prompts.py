"""Prompts in the cache: several are encoded in one pass, and each is kept once for all completions that continue it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.core.types import Ints, Routes
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import Adapter
from tunesmith.models.moe import Routing
from tunesmith.rollout.cache import Block

ROWS = 16
"""Rows are padded to a multiple: from 16 rows up, a matrix product gives each row the same bits in any batch."""
PASS_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Prompt tokens encoded at once on a kind of device; a longer prompt goes alone. Speed and memory only."""
UNEVEN = 1.5
"""Prompts lie side by side in attention while padding them to the longest makes no more than so much of the work."""


@dataclass(slots=True, eq=False)
class Prompt:
    """A prompt in the cache."""

    tokens: Ints
    slot: int
    first: Tensor
    """[1, V] logits after it, which every completion's first token is drawn from."""
    routes: Routes | None
    """[P, sparse layers, k] experts of its tokens, where they were asked for."""
    users: int = 0
    """Requests that have not finished; with the last of them the prompt goes."""


class Prompts:
    """The prompts that one version of the weights is continuing, in slots 0, 1, … without gaps."""

    def __init__(self, model: Decoder, adapter: Adapter | None) -> None:
        self.model, self.adapter = model, adapter
        self.block = Block(model.config, model.device, model.embed.dtype)
        self._kept: list[Prompt] = []
        self._by_key: dict[tuple[bytes, bool], Prompt] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def hold(self, asked: Sequence[tuple[Ints, bool]]) -> list[Prompt]:
        """One per (tokens, whether their routes are wanted): those that are not in the cache are encoded.

        ``release`` each when it is done with.
        """
        most = PASS_TOKENS.get(self.model.device.type, PASS_TOKENS["cpu"])
        new = {(p.tobytes(), routing): p for p, routing in asked if (p.tobytes(), routing) not in self._by_key}
        for wanted in (False, True):
            prompts = sorted((p for (_, routing), p in new.items() if routing == wanted), key=len)
            for together in _passes(prompts, most):
                self._encode(together, wanted)
        held = [self._by_key[p.tobytes(), routing] for p, routing in asked]
        for prompt in held:
            prompt.users += 1
        return held

    def release(self, prompt: Prompt) -> None:
        """Its last user gone, the last prompt takes its slot."""
        prompt.users -= 1
        if prompt.users:
            return
        del self._by_key[prompt.tokens.tobytes(), prompt.routes is not None]
        last = self._kept.pop()
        if last is not prompt:
            self.block.move(last.slot, prompt.slot, len(last.tokens))
            last.slot = prompt.slot
            self._kept[prompt.slot] = last

    def _encode(self, prompts: Sequence[Ints], routing: bool) -> None:
        """Run prompts that begin nowhere in common; none of them sees another, so the bits are those of each alone."""
        model, begin = self.model, len(self._kept)
        lengths = [len(p) for p in prompts]
        ends = np.cumsum(lengths)
        few = max(0, ROWS - int(ends[-1]))  # filled up by a sequence of its own
        self.block.reserve(begin + len(prompts) + 1, max(lengths))  # one more slot is for padding rows
        attention = PackedAttention(list(_families(lengths, few)), model.config.windows, model.device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for slot, (end, length) in enumerate(zip(ends, lengths, strict=True), begin):
                self.block.put(slot, layer, k[end - length : end], v[end - length : end])
            return attention(layer, q, k, v)

        tokens = torch.from_numpy(np.concatenate([*prompts, np.zeros(few, np.int32)]).astype(np.int64))
        positions = torch.cat([torch.arange(n) for n in (*lengths, few)])
        last = F.pad(torch.from_numpy(ends - 1), (0, max(0, ROWS - len(prompts))))
        tokens, positions, last = (x.to(model.device) for x in (tokens, positions, last))
        recorder = Routing(model.config) if routing else None  # of every token, so that no layer may leave out rows
        hidden = model(tokens, positions, attend, self.adapter, None if recorder else last, recorder)
        hidden = hidden.index_select(0, last) if recorder else hidden
        routes: list[Routes] | list[None] = [None] * len(prompts)
        if recorder:
            routes = np.split(recorder.noted(), ends)[: len(prompts)]
        logits = model.logits(hidden, self.adapter)
        for i, (p, own) in enumerate(zip(prompts, routes, strict=True)):
            self._kept.append(Prompt(p, begin + i, logits[i : i + 1], own))
            self._by_key[p.tobytes(), routing] = self._kept[-1]


def _passes(prompts: Sequence[Ints], most: int) -> Iterator[list[Ints]]:
    """Runs of prompts of at most so many tokens in all."""
    together: list[Ints] = []
    for p in prompts:
        if together and sum(map(len, together)) + len(p) > most:
            yield together
            together = []
        together.append(p)
    if together:
        yield together


def _families(lengths: Sequence[int], few: int) -> Iterator[Family]:
    """Prompts of like length, shortest first, are the suffixes of no prefix: attention takes them at once."""
    start, side = 0, list[int]()
    for length in lengths:
        if side and length * (len(side) + 1) > UNEVEN * (sum(side) + length):
            yield Family(start, 0, tuple(side))
            start, side = start + sum(side), []
        side.append(length)
    yield Family(start, 0, tuple(side))
    if few:
        yield Family(start + sum(side), 0, (few,))
