"""Attention on a CPU that gives a token the same bits whether it is trained in a pack or decoded one at a time.

Two things make it so: matrix products of at least FEWEST_ROWS rows, whose rows do not depend on each other, and sums
over ``key_places`` keys, where masked keys add exact zeros. Scores are held for a few queries at a time; the backward
pass computes them again beyond the first KEPT of a layer, so memory grows with tokens, not with their square.

Legend: g kv heads, r query heads per kv head, d head size, B members, S longest suffix, P prefix, both padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.models.layout import Family

QUANTUM = 64
FEW, SPAN = 192, 384
"""Sums over more keys than the first are cut by matrix libraries: in the middle up to the second, then at its multiples
or into equal parts of no more than that. Over whole multiples of it, all of them cut at the same places."""
FEWEST_ROWS = 4
BLOCK_ROWS = 16
"""Queries are taken a multiple of so many at a time."""
SCORES = 1 << 18
"""Scores held at once, counted in numbers: 1 MB in float32, which stays in a core's own cache."""
KEPT = 1 << 19
"""Weights of a layer that wait for the backward pass, counted in numbers: 2 MB in float32."""


def round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def key_places(n: int) -> int:
    """Places to lay n keys out in, the rest masked, so that sums over them do not depend on how many are masked."""
    places = round_up(n, QUANTUM)
    return places if places <= FEW else round_up(n, SPAN)


@dataclass(frozen=True, slots=True)
class Part:
    """Queries that are handled together: prefixes by themselves, or all suffixes of a family after their prefix."""

    prefix: slice
    """Packed rows that every query sees; empty for prefixes by themselves."""
    table: Tensor
    """[B, S] packed row of each query, which is also a key to those after it; padding repeats the last."""
    real: Tensor
    """[n] places in the flattened table that are not padding."""
    keep: Tensor | None
    """[B, S, 1, 1] 1 where real, 0 where padding; None without padding."""
    biases: dict[tuple[int, int, int | None], Tensor]
    """Masks by (first query, last, window), made once for all layers."""


def parts_of(families: Sequence[Family], device: torch.device) -> list[Part]:
    """Every packed row is a query of exactly one part."""
    none = slice(0, 0)
    prefixes = [(f.start, f.prefix) for f in families if f.prefix]
    alone = [_part(none, starts, lengths, device) for starts, lengths in _alike(prefixes)]
    return alone + [_suffixes(f, device) for f in families]


def _alike(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Bundles of (start, length) runs whose padding to the longest does not double the work."""
    bundle: list[tuple[int, int]] = []
    for run in runs:
        longest = max(length for _, length in [*bundle, run])
        if bundle and longest * (len(bundle) + 1) > 1.5 * sum(length for _, length in [*bundle, run]):
            yield [s for s, _ in bundle], [n for _, n in bundle]
            bundle = []
        bundle.append(run)
    if bundle:
        yield [s for s, _ in bundle], [n for _, n in bundle]


def _suffixes(f: Family, device: torch.device) -> Part:
    end = f.start + f.prefix
    starts = [end + sum(f.suffixes[:i]) for i in range(len(f.suffixes))]
    return _part(slice(f.start, end), starts, f.suffixes, device)


def _part(prefix: slice, starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Part:
    longest = max(*lengths, FEWEST_ROWS)
    sizes, first = torch.tensor(lengths)[:, None], torch.tensor(starts)[:, None]
    place = torch.arange(longest)[None]
    table = first + torch.minimum(place, sizes - 1)
    inside = place < sizes
    real = inside.flatten().nonzero()[:, 0].to(device)
    keep = None if bool(inside.all()) else inside[..., None, None].to(device)
    return Part(prefix, table.to(device), real, keep, {})


def exact_attention(q: Tensor, k: Tensor, v: Tensor, parts: Sequence[Part], window: int | None) -> Tensor:
    """[N, h, d], [N, g, d], [N, g, d] -> [N, h * d], differentiable."""
    return _ExactAttention.apply(q, k, v, parts, window)  # type: ignore[no-any-return,no-untyped-call]


class _ExactAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: Sequence[Part], window: int | None) -> Tensor:
        out = torch.empty_like(q)
        kept: list[Tensor | None] = []
        room = KEPT if any(ctx.needs_input_grad) else 0
        for part in parts:
            own = _Own(q, k, v, part)
            result = torch.empty_like(own.q)  # [g, B, S, r, d]
            for block in own.blocks(window):
                weights = block.weights()
                result[:, :, block.rows] = block.mix(weights)
                kept.append(weights if weights.numel() <= room else None)
                room -= 0 if kept[-1] is None else weights.numel()
            out[part.table.flatten()[part.real]] = own.flatten(result)
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.parts, ctx.window = parts, window
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *kept = ctx.saved_tensors
        waiting = iter(kept)
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad = grad.view_as(q)
        inner = (grad * out).sum(-1)  # [N, h]: what softmax's gradient subtracts
        for part in ctx.parts:
            own = _Own(q, k, v, part)
            upstream = own.spread(grad, zero_padding=True)
            subtract = own.spread(inner[..., None], zero_padding=True)[..., 0]
            slopes = _Slopes(own)
            for block in own.blocks(ctx.window):
                weights = next(waiting)
                weights = block.weights() if weights is None else weights
                slopes.add(block, weights, upstream[:, :, block.rows], subtract[:, :, block.rows])
            slopes.collect(part, dq, dk, dv)
        return dq, dk, dv, None, None


class _Own:
    """A part's queries, keys and values, laid out by head and member."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, part: Part) -> None:
        self.part, self.kv_heads = part, k.shape[1]
        self.scale = q.shape[-1] ** -0.5
        self.q = self.spread(q) * self.scale
        self.prefix = part.prefix.stop - part.prefix.start
        self.k, self.v = (_padded(self.taken(x).permute(2, 0, 1, 3)) for x in (k, v))  # [g, B, keys, d]
        self.prefix_k, self.prefix_v = (_padded(x[part.prefix].transpose(0, 1)) for x in (k, v))  # [g, P, d]

    def taken(self, x: Tensor) -> Tensor:
        """[N, h, n] -> [B, S, h, n]."""
        return x.flatten(1).index_select(0, self.part.table.flatten()).view(*self.part.table.shape, *x.shape[1:])

    def spread(self, x: Tensor, zero_padding: bool = False) -> Tensor:
        """[N, h, n] -> [g, B, S, r, n]."""
        taken = self.taken(x)
        if zero_padding and self.part.keep is not None:
            taken = taken * self.part.keep
        members, longest, _, n = taken.shape
        return taken.view(members, longest, self.kv_heads, -1, n).permute(2, 0, 1, 3, 4).contiguous()

    def flatten(self, x: Tensor) -> Tensor:
        """[g, B, S, r, n] -> [real rows, h, n]."""
        kv, members, longest, repeat, n = x.shape
        return x.permute(1, 2, 0, 3, 4).reshape(members * longest, kv * repeat, n)[self.part.real]

    def blocks(self, window: int | None) -> "Iterator[_Block]":
        """Runs of queries whose scores fit into SCORES; a rest too small to be a run goes with the one before it."""
        _, members, longest, repeat, _ = self.q.shape
        width = self.kv_heads * members * repeat * (self.prefix_k.shape[1] + longest)
        size = max(BLOCK_ROWS, SCORES // width // BLOCK_ROWS * BLOCK_ROWS)
        starts = range(0, longest - FEWEST_ROWS + 1, size)
        for start, end in pairwise([*starts, longest]):
            yield _Block(self, slice(start, end), window)


class _Block:
    """Some queries of every member, with the keys that any of them may see."""

    def __init__(self, own: _Own, rows: slice, window: int | None) -> None:
        self.own, self.rows = own, rows
        self.q = own.q[:, :, rows]  # [g, B, c, r, d]
        self.keys = slice(0, key_places(rows.stop))
        self.k, self.v = own.k[:, :, self.keys], own.v[:, :, self.keys]
        key = (rows.start, rows.stop, window)
        if key not in own.part.biases:
            own.part.biases[key] = _bias(own, rows, self.keys.stop, window)
        self.bias = own.part.biases[key]

    def weights(self) -> Tensor:
        """[g, B, c, r, P + keys] probabilities."""
        kv, members, count, repeat, size = self.q.shape
        to_own = self.q.reshape(kv, members, count * repeat, size) @ self.k.transpose(-1, -2)
        scores = to_own.view(kv, members, count, repeat, -1)
        if self.own.prefix:
            to_prefix = self.q.reshape(kv, -1, size) @ self.own.prefix_k.transpose(-1, -2)
            scores = torch.cat([to_prefix.view(kv, members, count, repeat, -1), scores], -1)
        weights: Tensor = scores.add_(self.bias).softmax(-1)
        return weights

    def split(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """([g, B * c * r, P], [g, B, c * r, keys])."""
        kv, members, count, repeat, _ = weights.shape
        prefix = self.own.prefix_k.shape[1]
        before, own = weights.split([prefix, weights.shape[-1] - prefix], -1)
        return before.reshape(kv, members * count * repeat, prefix), own.reshape(kv, members, count * repeat, -1)

    def mix(self, weights: Tensor) -> Tensor:
        """[g, B, c, r, d] weighted values."""
        before, own = self.split(weights)
        mixed = (own @ self.v).view(self.q.shape)
        return (before @ self.own.prefix_v).view(self.q.shape) + mixed if self.own.prefix else mixed


class _Slopes:
    """Gradients of one part, gathered block by block."""

    def __init__(self, own: _Own) -> None:
        self.own = own
        self.q, self.k, self.v = torch.zeros_like(own.q), torch.zeros_like(own.k), torch.zeros_like(own.v)
        self.prefix_k, self.prefix_v = torch.zeros_like(own.prefix_k), torch.zeros_like(own.prefix_v)

    def add(self, block: _Block, weights: Tensor, grad: Tensor, subtract: Tensor) -> None:
        """dS = P * (dO V^T - sum(dO * O)); dQ = dS K, dK = dS^T Q, dV = P^T dO."""
        kv, members, count, repeat, size = grad.shape
        flat, own = grad.reshape(kv, -1, size), grad.reshape(kv, members, count * repeat, size)
        before_w, own_w = block.split(weights)
        self.v[:, :, block.keys] += own_w.transpose(-1, -2) @ own
        d_own = (own @ block.v.transpose(-1, -2)).view(kv, members, count, repeat, -1)
        d_weights = d_own
        if self.own.prefix:
            self.prefix_v += before_w.transpose(-1, -2) @ flat
            d_before = (flat @ self.own.prefix_v.transpose(-1, -2)).view(kv, members, count, repeat, -1)
            d_weights = torch.cat([d_before, d_own], -1)
        d_scores = d_weights.sub_(subtract[..., None]).mul_(weights)
        before_s, own_s = block.split(d_scores)
        q = block.q.reshape(kv, members, count * repeat, size)
        dq = (own_s @ block.k).view(block.q.shape)
        self.k[:, :, block.keys] += own_s.transpose(-1, -2) @ q
        if self.own.prefix:
            dq = dq + (before_s @ self.own.prefix_k).view(block.q.shape)
            self.prefix_k += before_s.transpose(-1, -2) @ block.q.reshape(kv, -1, size)
        self.q[:, :, block.rows] = dq

    def collect(self, part: Part, dq: Tensor, dk: Tensor, dv: Tensor) -> None:
        """Add to the packed gradients; each packed row is in one table only, so nothing is written twice."""
        rows = part.table.flatten()[part.real]
        dq[rows] = self.own.flatten(self.q) * self.own.scale
        for packed, own, before in ((dk, self.k, self.prefix_k), (dv, self.v, self.prefix_v)):
            packed[rows] += own[:, :, : part.table.shape[1]].permute(1, 2, 0, 3).flatten(0, 1)[part.real]
            packed[part.prefix] += before[:, : self.own.prefix].transpose(0, 1)


def _padded(x: Tensor) -> Tensor:
    """Zeros up to ``key_places`` along the keys."""
    missing = key_places(x.shape[-2]) - x.shape[-2]
    return F.pad(x, (0, 0, 0, missing)) if missing else x.contiguous()


def _bias(own: _Own, rows: slice, keys: int, window: int | None) -> Tensor:
    """[c, 1, P + keys] 0 where a query may look, -inf elsewhere; the same for every member."""
    query = torch.arange(rows.start, rows.stop)[:, None] + own.prefix
    before, after = torch.arange(own.prefix_k.shape[1])[None], torch.arange(keys)[None] + own.prefix
    position = torch.cat([before, after], -1)
    seen = torch.cat([before < own.prefix, after >= 0], -1) & (position <= query)
    if window is not None:
        seen &= position > query - window
    return torch.full(seen.shape, -torch.inf).masked_fill_(seen, 0.0)[:, None].to(own.q)
