"""From a list of Datum to packed passes: sequences end to end, no padding, what neighbours share encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tunesmith.core.types import Datum, Ints
from tunesmith.models.attention import Family

MIN_SHARED = 0.25
"""A prompt of at least this share of its sequence is always encoded once for all who have it."""
FEWEST_TOKENS = 16
"""Shorter passes are filled up: a matrix product of so many rows gives each the bits that it has in any other."""


@dataclass(frozen=True, slots=True)
class Pack:
    """N packed tokens of S sequences, and the M positions among them whose next token is scored."""

    tokens: Tensor
    """[N] int64."""
    positions: Tensor
    """[N] int64."""
    families: tuple[Family, ...]
    rows: Tensor
    """[M] packed row whose hidden state predicts the target."""
    targets: Tensor
    """[M] int64."""
    temperature: Tensor
    """[M]."""
    weights: Tensor
    """[M]."""
    segment: Tensor
    """[M] int64 in 0..S-1, non-decreasing."""
    places: tuple[Ints, ...]
    """Per sequence, the positions in 0..T-1 that are scored."""
    columns: dict[str, Tensor]
    """[M] of each optional column that every datum has: logprobs, ref_logprobs, advantages."""


def passes(data: Sequence[Datum], budget: int, unit: int = 1) -> list[list[int]]:
    """Indices of each pass: in order, at most ``budget`` packed tokens, never parting a unit (a preference pair)."""
    shared = _shared(data)
    out: list[list[int]] = [[]] if data else []
    used = 0
    for i in range(0, len(data), unit):
        members = range(i, min(i + unit, len(data)))
        cost = sum(_prompt(data[j]) + len(_own(data[j])) - shared[j] for j in members)
        if out[-1] and used + cost > budget:
            out.append([])
            used = 0
        if not out[-1]:
            cost += shared[i]
        out[-1] += members
        used += cost
    return out


def pack(data: Sequence[Datum], device: torch.device, all_tokens: bool = False) -> Pack:
    """Lay out one pass; scored are the positions with a weight other than 0, or all of them."""
    families, tokens, positions, rows = _layout(data)
    places = tuple(
        np.arange(len(d.tokens), dtype=np.int32) if all_tokens else np.flatnonzero(d.weights).astype(np.int32)
        for d in data
    )
    counts = [len(p) for p in places]
    picked = {
        name: np.concatenate([getattr(d, name)[p] for d, p in zip(data, places, strict=True)])
        for name in ("targets", "weights", "logprobs", "ref_logprobs", "advantages")
        if all(getattr(d, name) is not None for d in data)
    }

    def to(x: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device, dtype)

    return Pack(
        tokens=to(tokens, torch.int64),
        positions=to(positions, torch.int64),
        families=families,
        rows=to(np.concatenate([r[p] for r, p in zip(rows, places, strict=True)]), torch.int64),
        targets=to(picked.pop("targets"), torch.int64),
        temperature=to(np.repeat([d.temperature for d in data], counts), torch.float32),
        weights=to(picked.pop("weights"), torch.float32),
        segment=to(np.repeat(np.arange(len(data)), counts), torch.int64),
        places=places,
        columns={name: to(column, torch.float32) for name, column in picked.items()},
    )


def _prompt(d: Datum) -> int:
    """Tokens before the first scored one's own input: what a sampler was given."""
    scored = np.flatnonzero(d.weights)
    return int(scored[0]) + 1 if len(scored) else 0


def _own(d: Datum) -> Ints:
    """Tokens after the prompt, at least one: a reply of a single token, which needs none, is laid out with itself.

    Without it such a reply would end its family, and would see its prompt in other pieces than the sampler did.
    """
    own = d.tokens[_prompt(d) :]
    return own if len(own) else d.targets[-1:]


def _shared(data: Sequence[Datum]) -> list[int]:
    """Tokens each datum has in common with the one before it: the whole prompt of both, or 0.

    The parting line is where sampling began, so that trainer and sampler add up the same numbers in the same order.
    Members are padded to the longest in attention; a short prompt is not worth more than doubling that work.
    """
    prompts = [_prompt(d) for d in data]
    out = [0] * len(data)
    first = longest = real = 0
    for i, n in enumerate(prompts):
        own = len(_own(data[i]))
        same = i > 0 and n == prompts[i - 1] and np.array_equal(data[i - 1].tokens[:n], data[i].tokens[:n])
        worth = n >= MIN_SHARED * len(data[i].tokens) or max(longest, own) * (i - first + 1) <= 2 * (real + own)
        if same and worth:
            out[i] = n
        else:
            first = i
            longest = real = 0
        longest, real = max(longest, own), real + own
    return out


def _layout(data: Sequence[Datum]) -> tuple[tuple[Family, ...], Ints, Ints, list[Ints]]:
    """Families, [N] tokens, [N] positions, and per datum the packed rows of its [T] tokens, perhaps one more."""
    shared = _shared(data)
    families: list[Family] = []
    tokens: list[Ints] = []
    positions: list[Ints] = []
    rows: list[Ints] = []
    start = i = 0
    while i < len(data):
        j = i + 1
        while j < len(data) and shared[j]:
            j += 1
        prefix = _prompt(data[i])
        suffixes = tuple(len(_own(d)) for d in data[i:j])
        families.append(Family(start, prefix, suffixes))
        tokens.append(data[i].tokens[:prefix])
        positions.append(np.arange(prefix, dtype=np.int32))
        own = start + prefix
        for d, length in zip(data[i:j], suffixes, strict=True):
            tokens.append(_own(d))
            positions.append(np.arange(prefix, prefix + length, dtype=np.int32))
            rows.append(np.r_[start : start + prefix, own : own + length])
            own += length
        start, i = own, j
    if (few := FEWEST_TOKENS - start) > 0:
        families.append(Family(start, 0, (few,)))
        tokens.append(np.zeros(few, np.int32))
        positions.append(np.arange(few, dtype=np.int32))
    return tuple(families), np.concatenate(tokens), np.concatenate(positions), rows
