"""Prompts in the cache: several are encoded in one pass, and each is kept once for all completions that continue it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.core.types import Ints
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import Adapter
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
    users: int = 0
    """Requests that have not finished; with the last of them the prompt goes."""


class Prompts:
    """The prompts that one version of the weights is continuing, in slots 0, 1, … without gaps."""

    def __init__(self, model: Decoder, adapter: Adapter | None) -> None:
        self.model, self.adapter = model, adapter
        self.block = Block(model.config, model.device, model.embed.dtype)
        self._kept: list[Prompt] = []
        self._by_tokens: dict[bytes, Prompt] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def hold(self, prompts: Sequence[Ints]) -> list[Prompt]:
        """One per asked: those that are not in the cache are encoded; ``release`` each when it is done with."""
        new = {p.tobytes(): p for p in prompts if p.tobytes() not in self._by_tokens}
        for together in _passes(
            sorted(new.values(), key=len), PASS_TOKENS.get(self.model.device.type, PASS_TOKENS["cpu"])
        ):
            self._encode(together)
        held = [self._by_tokens[p.tobytes()] for p in prompts]
        for prompt in held:
            prompt.users += 1
        return held

    def release(self, prompt: Prompt) -> None:
        """Its last user gone, the last prompt takes its slot."""
        prompt.users -= 1
        if prompt.users:
            return
        del self._by_tokens[prompt.tokens.tobytes()]
        last = self._kept.pop()
        if last is not prompt:
            self.block.move(last.slot, prompt.slot, len(last.tokens))
            last.slot = prompt.slot
            self._kept[prompt.slot] = last

    def _encode(self, prompts: Sequence[Ints]) -> None:
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
        device = model.device
        hidden = model(tokens.to(device), positions.to(device), attend, self.adapter, last.to(device))
        logits = model.logits(hidden, self.adapter)
        for i, p in enumerate(prompts):
            self._kept.append(Prompt(p, begin + i, logits[i : i + 1]))
            self._by_tokens[p.tobytes()] = self._kept[-1]


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
