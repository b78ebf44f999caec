"""Causal attention over packed sequences, some of which share a prefix that is encoded once.

Layout of a pack: for every family of sequences its shared prefix, then each member's own suffix, end to end.
Legend: N packed tokens, h heads, d head size, P prefix tokens, G members, S longest suffix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.models.exact_attention import exact_attention, parts_of
from tunesmith.models.layout import Family

__all__ = ["Family", "PackedAttention"]


class PackedAttention:
    """Every token sees its own sequence up to itself, and nothing of the others; on a CPU with ``exact_attention``."""

    def __init__(self, families: Sequence[Family], windows: Sequence[int | None], device: torch.device) -> None:
        self.families, self.windows = families, windows
        self.parts = parts_of(families, device) if device.type == "cpu" else None
        self.rows = [_padded_rows(f, device) if len(f.suffixes) > 1 else None for f in families]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        window = self.windows[layer]
        if self.parts is not None:
            return exact_attention(q, k, v, self.parts, window)
        pieces: list[Tensor] = []
        for family, rows in zip(self.families, self.rows, strict=True):
            end = family.start + family.prefix
            if family.prefix:
                own = slice(family.start, end)
                pieces.append(_causal(q[own], k[own], v[own], window))
            if rows is None:
                own = slice(end, end + family.suffixes[0])
                both = slice(family.start, own.stop)
                pieces.append(_causal(q[own], k[both], v[both], window))
            else:
                pieces.append(_members(family, rows, q, k, v, window))
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _padded_rows(family: Family, device: torch.device) -> tuple[Tensor, Tensor]:
    """[G, S] packed row of every suffix token (the last repeated as padding), and [N'] where the real ones are."""
    longest = max(family.suffixes)
    start = family.start + family.prefix
    table, real = [], []
    for member, length in enumerate(family.suffixes):
        table.append([start + min(i, length - 1) for i in range(longest)])
        real += [member * longest + i for i in range(length)]
        start += length
    return torch.tensor(table, device=device), torch.tensor(real, device=device)


def _members(
    family: Family, rows: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor, window: int | None
) -> Tensor:
    """All suffixes of a family at once: each attends to the prefix and to itself. Padding comes last, so no
    real token can see it."""
    table, real = rows
    prefix = slice(family.start, family.start + family.prefix)
    members, longest = table.shape
    own_q, own_k, own_v = (x[table].transpose(1, 2) for x in (q, k, v))  # [G, heads, S, d]
    shared_k, shared_v = (x[prefix].transpose(0, 1).expand(members, -1, -1, -1) for x in (k, v))  # [G, kv, P, d]
    mask = _mask(longest, family.prefix, window, q.device)
    out = _sdpa(own_q, torch.cat([shared_k, own_k], 2), torch.cat([shared_v, own_v], 2), mask, causal=False)
    return out.transpose(1, 2).reshape(members * longest, -1)[real]


def _causal(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """[n, h, d] queries, the last n of m keys -> [n, h * d]."""
    n, m = len(q), len(k)
    plain = n == m and (window is None or m <= window)
    mask = None if plain else _mask(n, m - n, window, q.device)
    out = _sdpa(q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], mask, causal=plain)
    return out[0].transpose(0, 1).reshape(n, -1)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def _mask(n: int, before: int, window: int | None, device: torch.device) -> Tensor:
    """[n, before + n] True where query i, at position before + i, may look."""
    query = torch.arange(before, before + n, device=device)[:, None]
    key = torch.arange(before + n, device=device)[None]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)
