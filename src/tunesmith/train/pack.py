"""From a list of Datum to packed passes: sequences end to end, no padding, what neighbours share encoded once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.core.types import Bools, Datum, Floats, Ints, Routes
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
    """[M] int64, or [M, K] where a datum scores K tokens of each row; one with fewer has id 0 of weight 0 beside."""
    temperature: Tensor
    """[M]."""
    weights: Tensor
    """Shape of targets."""
    segment: Tensor
    """[M] int64 in 0..S-1, non-decreasing."""
    places: tuple[Ints, ...]
    """Per sequence, the positions in 0..T-1 that are scored."""
    columns: dict[str, Tensor]
    """[M] of each optional column: logprobs, ref_logprobs and advantages where every datum has them, those of
    ``_ABSENT`` where any has."""
    routing: Tensor | None
    """[N, sparse layers, k] int64 experts, -1 where the router chooses; None where no datum has any."""


def passes(data: Sequence[Datum], budget: int, unit: int = 1) -> list[list[int]]:
    """Indices of each pass: in order, at most ``budget`` packed tokens, never parting a unit (a preference pair).

    The prompt that a pass begins with is not counted: a long one would leave room for few of those who share it, and
    would be encoded again for the next few.
    """
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
            cost -= _prompt(data[i]) - shared[i]
        out[-1] += members
        used += cost
    return out


def pack(data: Sequence[Datum], device: torch.device, all_tokens: bool = False) -> Pack:
    """Lay out one pass; scored are the positions with a weight other than 0, or all of them."""
    families, tokens, positions, rows = _layout(data)
    places = tuple(
        np.arange(len(d.tokens), dtype=np.int32) if all_tokens else np.flatnonzero(_scored(d)).astype(np.int32)
        for d in data
    )
    counts = [len(p) for p in places]

    def picked(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return _joined([column[p] for column, p in zip(columns, places, strict=True)])

    def to(x: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device, dtype)

    return Pack(
        tokens=to(tokens, torch.int64),
        positions=to(positions, torch.int64),
        families=families,
        rows=to(np.concatenate([r[p] for r, p in zip(rows, places, strict=True)]), torch.int64),
        targets=to(picked([d.targets for d in data]), torch.int64),
        temperature=to(np.repeat([d.temperature for d in data], counts), torch.float32),
        weights=to(picked([d.weights for d in data]), torch.float32),
        segment=to(np.repeat(np.arange(len(data)), counts), torch.int64),
        places=places,
        columns={name: to(picked(columns), torch.float32) for name, columns in _optional(data)},
        routing=None if (routes := _routes(data, rows, len(tokens))) is None else to(routes, torch.int64),
    )


_ABSENT: dict[str, Callable[[Datum], Floats]] = {
    "clip_low": lambda d: np.full(len(d.tokens), np.nan, np.float32),
    "clip_high": lambda d: np.full(len(d.tokens), np.nan, np.float32),
    "ratio_mask": lambda d: _weighted(d).astype(np.float32),
}
"""Columns that a datum may leave out beside others that have them, and what it says by that."""


def _optional(data: Sequence[Datum]) -> Iterator[tuple[str, list[Floats]]]:
    """Name and, for every datum, [T] numbers of each optional column of a pass."""
    for name in ("logprobs", "ref_logprobs", "advantages", *_ABSENT):
        columns = [getattr(d, name) for d in data]
        if name in _ABSENT and any(c is not None for c in columns):
            yield name, [_ABSENT[name](d) if c is None else c for d, c in zip(data, columns, strict=True)]
        elif all(c is not None for c in columns):
            yield name, columns


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """[M], or [M, K] of the largest K where any part has several numbers a row; 0 where a part has fewer."""
    if all(part.ndim == 1 for part in parts):
        return np.concatenate(parts)
    tables = [part[:, None] if part.ndim == 1 else part for part in parts]
    width = max(table.shape[1] for table in tables)
    return np.concatenate([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables])


def _weighted(d: Datum) -> Bools:
    """[T] True where a target has a weight."""
    weighted: Bools = d.weights != 0 if d.weights.ndim == 1 else (d.weights != 0).any(1)
    return weighted


def _scored(d: Datum) -> Bools:
    """[T] True where a loss reads the log-probability."""
    return _weighted(d) if d.ratio_mask is None else _weighted(d) | (d.ratio_mask != 0)


def _prompt(d: Datum) -> int:
    """Tokens before the first scored one's own input: what a sampler was given."""
    scored = np.flatnonzero(_scored(d))
    return int(scored[0]) + 1 if len(scored) else 0


def _own(d: Datum) -> Ints:
    """Tokens after the prompt, at least one: a reply of a single token, which needs none, is laid out with itself.

    Without it such a reply would end its family, and would see its prompt in other pieces than the sampler did.
    """
    own = d.tokens[_prompt(d) :]
    return own if len(own) else d.targets[-1:].reshape(-1)[:1]


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
        same = i > 0 and n == prompts[i - 1] and _begin_alike(data[i - 1], data[i], n)
        worth = n >= MIN_SHARED * len(data[i].tokens) or max(longest, own) * (i - first + 1) <= 2 * (real + own)
        if same and worth:
            out[i] = n
        else:
            first = i
            longest = real = 0
        longest, real = max(longest, own), real + own
    return out


def _begin_alike(a: Datum, b: Datum, n: int) -> bool:
    """Whether n tokens of both are the same and go to the same experts."""
    if not np.array_equal(a.tokens[:n], b.tokens[:n]) or (a.routing is None) != (b.routing is None):
        return False
    return a.routing is None or b.routing is None or np.array_equal(a.routing[:n], b.routing[:n])


def _routes(data: Sequence[Datum], rows: Sequence[Ints], count: int) -> Routes | None:
    """[N, sparse layers, k] from the packed rows of each datum's tokens."""
    given = [(d.routing, r[: len(d.tokens)]) for d, r in zip(data, rows, strict=True) if d.routing is not None]
    if not given:
        return None
    out = np.full((count, *given[0][0].shape[1:]), -1, np.int16)
    for routing, places in given:
        out[places] = routing
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
