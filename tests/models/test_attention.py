"""Packs with shared prefixes give every token what its sequence alone would give it."""

import random
from pathlib import Path

import pytest
import torch
from models.tiny import CPU, hf_model, logits, ours

from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder


def random_family(draw: random.Random) -> list[list[int]]:
    """Sequences that begin alike, each with at least one token of its own."""
    prefix = [draw.randrange(61) for _ in range(draw.choice([0, 1, 2, 7, 12]))]
    members = draw.choice([1, 1, 2, 3, 5])
    return [prefix + [draw.randrange(61) for _ in range(draw.choice([1, 1, 2, 5, 9]))] for _ in range(members)]


def packed_logits(model: Decoder, groups: list[list[list[int]]], prefixes: list[int]) -> list[torch.Tensor]:
    """[L, V] of every sequence, from one pack in which each group's prefix is there once."""
    tokens: list[int] = []
    positions: list[int] = []
    families, rows = [], []
    for group, prefix in zip(groups, prefixes, strict=True):
        start = len(tokens)
        families.append(Family(start, prefix, tuple(len(s) - prefix for s in group)))
        tokens += group[0][:prefix]
        positions += range(prefix)
        for sequence in group:
            rows.append([*range(start, start + prefix), *range(len(tokens), len(tokens) + len(sequence) - prefix)])
            tokens += sequence[prefix:]
            positions += range(prefix, len(sequence))
    attend = PackedAttention(families, model.config.windows, CPU)
    with torch.no_grad():
        out = model.logits(model(torch.tensor(tokens), torch.tensor(positions), attend))
    return [out[r] for r in rows]


@pytest.mark.parametrize("name", ["llama-tied", "llama-many-heads", "mistral-window", "qwen2-window", "qwen3_moe"])
@pytest.mark.parametrize("seed", range(4))
def test_a_pack_equals_its_sequences_alone(name: str, seed: int, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, draw = ours(tmp_path), random.Random(seed)
    groups = [random_family(draw) for _ in range(4)]
    shortest = [min(map(len, g)) for g in groups]
    same = [next((i for i in range(n) if len({s[i] for s in g}) > 1), n) for g, n in zip(groups, shortest, strict=True)]
    # every member keeps a token of its own
    prefixes = [min(draw.randint(0, p), n - 1) for p, n in zip(same, shortest, strict=True)]
    found = packed_logits(model, groups, prefixes)
    for sequence, out in zip([s for g in groups for s in g], found, strict=True):
        torch.testing.assert_close(out, logits(model, torch.tensor(sequence)), atol=3e-6, rtol=1e-6)


def test_the_gradient_through_a_shared_prefix_is_the_sum_over_its_members() -> None:
    torch.manual_seed(0)
    # prefix 3, suffixes 2 and 4: packed rows 0-2 | 3-4 | 5-8
    family, alone = Family(0, 3, (2, 4)), [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6, 7, 8]]
    qkv = [torch.randn(9, h, 8, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2)]
    weight = torch.randn(9, 32, dtype=torch.float64)
    out = PackedAttention([family], [3], CPU)(0, *qkv)
    packed = torch.autograd.grad((out * weight).sum(), qkv)
    total = torch.zeros((), dtype=torch.float64)
    for rows in alone:
        single = PackedAttention([Family(0, 0, (len(rows),))], [3], CPU)(0, *(x[rows] for x in qkv))
        own = slice(0 if rows is alone[0] else 3, None)  # the prefix's own outputs count once
        total = total + (single[own] * weight[rows][own]).sum()
    for found, expected in zip(packed, torch.autograd.grad(total, qkv), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_other_sequences_of_a_pack_change_nothing() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(10, h, 8) for h in (4, 2, 2))
    families = [Family(0, 0, (4,)), Family(4, 2, (1, 3))]
    before = PackedAttention(families, [None], CPU)(0, q, k, v)
    k[4:], v[4:] = 1e4, 1e4
    after = PackedAttention(families, [None], CPU)(0, q, k, v)
    assert torch.equal(before[:4], after[:4])
