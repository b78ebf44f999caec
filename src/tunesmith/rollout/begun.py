"""Completions that go on with what was begun: tokens after the first prompt are laid out as training lays them out.

Token for token they are seen in the pieces in which the trainer will see them, so that both give them the same bits.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.core.types import Ints
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import Adapter
from tunesmith.rollout.cache import Block
from tunesmith.rollout.prompts import ROWS


def encode_begun(
    model: Decoder, adapter: Adapter | None, own: Block, rows: Sequence[tuple[int, Ints, Ints]]
) -> list[Tensor]:
    """Put the begun tokens of rows into the cache.

    Args:
        own: where rows keep what comes after their prompt; there is room for it.
        rows: (row, its prompt, at least one token begun); those of one prompt share its encoding when side by side.

    Returns:
        For each row [1, V] logits after its last token.
    """
    logits: list[Tensor] = []
    for key, group in groupby(rows, key=lambda row: row[1].tobytes()):
        logits += _encode(model, adapter, own, np.frombuffer(key, np.int32), [(row, begun) for row, _, begun in group])
    return logits


def _encode(
    model: Decoder, adapter: Adapter | None, own: Block, prompt: Ints, rows: Sequence[tuple[int, Ints]]
) -> list[Tensor]:
    """One family: the prompt, then what each row has begun after it."""
    lengths = [len(begun) for _, begun in rows]
    ends = len(prompt) + np.cumsum(lengths)
    few = max(0, ROWS - int(ends[-1]))  # filled up by a sequence of its own
    families = [Family(0, len(prompt), tuple(lengths))] + ([Family(int(ends[-1]), 0, (few,))] if few else [])
    attention = PackedAttention(families, model.config.windows, model.device)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        for (row, _), end, length in zip(rows, ends, lengths, strict=True):
            own.put(row, layer, k[end - length : end], v[end - length : end])
        return attention(layer, q, k, v)

    tokens = np.concatenate([prompt, *(begun for _, begun in rows), np.zeros(few, np.int32)]).astype(np.int64)
    places = [np.arange(len(prompt)), *(len(prompt) + np.arange(n) for n in lengths), np.arange(few)]
    last = F.pad(torch.from_numpy(ends - 1), (0, max(0, ROWS - len(rows))))
    moved = (x.to(model.device) for x in (torch.from_numpy(tokens), torch.from_numpy(np.concatenate(places)), last))
    ids, positions, last = moved
    hidden = model(ids, positions, attend, adapter, last, None)
    logits = model.logits(hidden, adapter)
    return [logits[i : i + 1] for i in range(len(rows))]
