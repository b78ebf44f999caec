"""Packs with shared prefixes give every token what its sequence alone would give it."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from models.tiny import CPU, hf_model, logits, ours
from torch import Tensor

from tunesmith.models import exact_attention
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder

PATHS = ["cpu", "accelerator"]


def random_family(draw: random.Random) -> list[list[int]]:
    """Sequences that begin alike, each with at least one token of its own."""
    prefix = [draw.randrange(61) for _ in range(draw.choice([0, 1, 2, 7, 12]))]
    members = draw.choice([1, 1, 2, 3, 5])
    return [prefix + [draw.randrange(61) for _ in range(draw.choice([1, 1, 2, 5, 9]))] for _ in range(members)]


def attention(families: list[Family], windows: Sequence[int | None], path: str) -> PackedAttention:
    """The attention of a CPU, or the one that other devices run."""
    attend = PackedAttention(families, windows, CPU)
    if path == "accelerator":
        attend.parts = None
    return attend


def packed_logits(model: Decoder, groups: list[list[list[int]]], prefixes: list[int], path: str) -> list[torch.Tensor]:
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
    attend = attention(families, model.config.windows, path)
    with torch.no_grad():
        out = model.logits(model(torch.tensor(tokens), torch.tensor(positions), attend))
    return [out[r] for r in rows]


@pytest.mark.parametrize("name", ["llama-tied", "llama-many-heads", "mistral-window", "qwen2-window", "qwen3_moe"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("path", PATHS)
def test_a_pack_equals_its_sequences_alone(name: str, seed: int, path: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, draw = ours(tmp_path), random.Random(seed)
    groups = [random_family(draw) for _ in range(4)]
    shortest = [min(map(len, g)) for g in groups]
    same = [next((i for i in range(n) if len({s[i] for s in g}) > 1), n) for g, n in zip(groups, shortest, strict=True)]
    # every member keeps a token of its own
    prefixes = [min(draw.randint(0, p), n - 1) for p, n in zip(same, shortest, strict=True)]
    found = packed_logits(model, groups, prefixes, path)
    for sequence, out in zip([s for g in groups for s in g], found, strict=True):
        torch.testing.assert_close(out, logits(model, torch.tensor(sequence)), atol=3e-6, rtol=1e-6)


def dense(families: list[Family], window: int | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same attention with one mask over the whole pack, as plainly as it can be written."""
    n = len(q)
    seen = torch.zeros(n, n, dtype=torch.bool)
    for family in families:
        end = family.start + family.prefix
        for rows in [range(family.start, end), *_suffix_rows(family, end)]:
            sequence = [*range(family.start, end), *rows] if rows.start >= end else list(rows)
            for place, row in enumerate(sequence):
                first = 0 if window is None else max(0, place + 1 - window)
                seen[row, sequence[first : place + 1]] = True
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    scores = torch.einsum("nhd,mhd->hnm", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v).flatten(1)


def _suffix_rows(family: Family, start: int) -> list[range]:
    starts = [start + sum(family.suffixes[:i]) for i in range(len(family.suffixes))]
    return [range(s, s + n) for s, n in zip(starts, family.suffixes, strict=True)]


LAYOUTS = {
    "one": [Family(0, 0, (9,))],
    "one token": [Family(0, 0, (1,)), Family(1, 1, (1,))],
    "prefix and members": [Family(0, 3, (2, 4))],
    "long": [Family(0, 0, (200,))],
    "long prefix": [Family(0, 130, (3, 90, 1)), Family(224, 0, (70,))],
    "many": [Family(0, 5, (1,)), Family(6, 64, (64, 65)), Family(199, 0, (2,)), Family(201, 0, (30,))],
    "members alone": [Family(0, 0, (4, 7, 1))],
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("window", [None, 1, 3, 64, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_equal_one_dense_mask(
    layout: str, window: int | None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_attention, "SCORES", 1)  # as many blocks of queries as there can be
    families = LAYOUTS[layout]
    n = families[-1].start + families[-1].prefix + sum(families[-1].suffixes)
    torch.manual_seed(0)
    qkv = [torch.randn(n, h, 8, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2)]
    weight = torch.randn(n, 32, dtype=torch.float64)
    found = attention(families, [window], path)(0, *qkv)
    expected = dense(families, window, *qkv)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    mine, theirs = (torch.autograd.grad((out * weight).sum(), qkv) for out in (found, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_that_were_kept_and_those_computed_again_give_the_same_bits(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_attention, "SCORES", 1)  # several blocks, so that some are kept and some are not
    families = LAYOUTS[layout]
    torch.manual_seed(0)
    n = families[-1].start + families[-1].prefix + sum(families[-1].suffixes)
    qkv = [torch.randn(n, h, 8, requires_grad=True) for h in (4, 2, 2)]
    found = []
    for kept in (0, 10_000, exact_attention.KEPT):
        monkeypatch.setattr(exact_attention, "KEPT", kept)
        found.append(torch.autograd.grad(attention(families, [None], "cpu")(0, *qkv).square().sum(), qkv))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("path", PATHS)
def test_other_sequences_of_a_pack_change_nothing(path: str) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(10, h, 8) for h in (4, 2, 2))
    families = [Family(0, 0, (4,)), Family(4, 2, (1, 3))]
    before = attention(families, [None], path)(0, q, k, v)
    k[4:], v[4:] = 1e4, 1e4
    after = attention(families, [None], path)(0, q, k, v)
    assert torch.equal(before[:4], after[:4])
