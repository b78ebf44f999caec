"""Low-rank adapters (2106.09685) that live beside a frozen base model: many of them, of any rank, on one base.

    y = W x + (alpha / r) B A x        A ~ U(-1/sqrt(in), 1/sqrt(in)),  B = 0,  alpha = 32 unless told otherwise

Shapes: r rank, P fused parts of a linear (q, k, v or gate, up), E experts. Experts share the factor on the model
dimension, as in "LoRA Without Regret": one A for gate and up, one B for down.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ALPHA = 32.0


@dataclass(slots=True)
class Pair:
    """The two factors of one fused linear. Part p reads rows p*r..p*r+r of ``a`` and writes its own rows of ``b``."""

    a: Tensor
    """[P * r, in]; [E, r, in] for the experts' down projection."""
    b: Tensor
    """[out, r], the parts below each other; [E, out, r] for the experts' gate and up."""
    parts: tuple[int, ...]
    """Rows of each part; they add up to out."""
    scale: float
    spread: Tensor | None = None
    """b on the diagonal, times scale: precomputed in a snapshot, built on the fly where gradients flow."""

    def add_delta(self, y: Tensor, x: Tensor, expert: int | None = None) -> Tensor:
        """[N, out] of the plain linear of [N, in] -> the same tensor with what the adapter adds."""
        a = self.a[expert] if expert is not None and self.a.dim() == 3 else self.a
        return y.addmm_(F.linear(x, a.to(x.dtype)), self.spread_b(expert).to(x.dtype).T)

    def spread_b(self, expert: int | None = None) -> Tensor:
        """[out, P * r]: b on the diagonal, times scale."""
        if self.spread is not None:
            return self.spread[expert] if self.spread.dim() == 3 else self.spread
        b = self.b[expert] if self.b.dim() == 3 else self.b
        return (torch.block_diag(*b.split(self.parts)) if len(self.parts) > 1 else b) * self.scale

    def frozen(self) -> "Pair":
        """A copy that later updates do not touch."""
        with torch.no_grad():
            each = [self.spread_b(e) for e in range(len(self.b))] if self.b.dim() == 3 else None
            spread = torch.stack(each) if each is not None else self.spread_b().clone()
            return Pair(self.a.detach().clone(), self.b.detach().clone(), self.parts, self.scale, spread)


@dataclass(frozen=True, slots=True)
class Target:
    """A linear that can be adapted: its name in the decoder, its parts, and whether experts share a factor."""

    name: str
    parts: tuple[tuple[str, int], ...]
    """(Hugging Face name, rows) of each part."""
    inputs: int
    experts: int = 0
    shares: str = ""
    """Which factor experts share: 'a' (gate and up), 'b' (down), '' for an ordinary linear."""


class Adapter:
    """One policy's factors, by the name of the linear they adapt."""

    def __init__(self, rank: int, pairs: dict[str, Pair], targets: dict[str, Target]) -> None:
        self.rank, self.pairs, self.targets = rank, pairs, targets

    @property
    def alpha(self) -> float:
        """Rank times scale."""
        return next(iter(self.pairs.values())).scale * self.rank

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, pair in self.pairs.items():
            yield f"{name}.a", pair.a
            yield f"{name}.b", pair.b

    def snapshot(self) -> "Adapter":
        """A frozen copy for a sampler or a reference."""
        return Adapter(self.rank, {name: pair.frozen() for name, pair in self.pairs.items()}, self.targets)

    @torch.no_grad()
    def weight_change(self) -> float:
        """||B A||_F * alpha / r over all linears: how far the policy's weights are from the base.

        ||B A||_F^2 = sum of (B^T B) * (A A^T): r by r, whatever the size of the layer.
        """
        total = 0.0
        for name, pair in self.pairs.items():
            for a, b, scale in factors(pair, self.targets[name]):
                a, b = a.double(), b.double()
                total += scale**2 * float(((b.T @ b) * (a @ a.T)).sum())
        return math.sqrt(max(total, 0.0))


def factors(pair: Pair, target: Target) -> Iterator[tuple[Tensor, Tensor, float]]:
    """([r, in], [rows, r], scale) of every plain linear behind a fused pair: parts, then experts."""
    rank = pair.b.shape[-1]
    for expert in range(max(1, target.experts)):
        a = pair.a[expert] if pair.a.dim() == 3 else pair.a
        b = pair.b[expert] if pair.b.dim() == 3 else pair.b
        for part, rows in enumerate(b.split(pair.parts)):
            own = a if len(pair.parts) == 1 else a[part * rank : (part + 1) * rank]
            yield own, rows, pair.scale


def new_adapter(targets: Iterable[Target], rank: int, seed: int, device: torch.device, alpha: float = ALPHA) -> Adapter:
    """A fresh adapter that changes nothing yet: B = 0."""
    generator = torch.Generator().manual_seed(seed)
    table = {t.name: t for t in targets}
    pairs = {t.name: _new_pair(t, rank, alpha / rank, generator, device) for t in table.values()}
    return Adapter(rank, pairs, table)


def _new_pair(t: Target, rank: int, scale: float, generator: torch.Generator, device: torch.device) -> Pair:
    rows = tuple(n for _, n in t.parts)
    a_shape = (t.experts, rank, t.inputs) if t.shares == "b" else (len(rows) * rank, t.inputs)
    b_shape = (t.experts, sum(rows), rank) if t.shares == "a" else (sum(rows), rank)
    bound = t.inputs**-0.5
    a = torch.empty(a_shape).uniform_(-bound, bound, generator=generator).to(device)
    b = torch.zeros(b_shape, device=device)
    return Pair(a.requires_grad_(), b.requires_grad_(), rows, scale)


def parameters_per_rank(targets: Iterable[Target]) -> int:
    """Trainable numbers per unit of rank: the sum of in + out, shared factors counted once."""
    total = 0
    for t in targets:
        inputs, outputs = len(t.parts) * t.inputs, sum(n for _, n in t.parts)
        total += inputs * (t.experts if t.shares == "b" else 1) + outputs * (t.experts if t.shares == "a" else 1)
    return total
