"""The losses of the Training API and their gradients by hand, in float64: numpy alone, nothing of the product.

lp = ln p under the policy, q = ln of the policy that sampled, A = advantage, w = weight, r = exp(lp - q). Every formula
gives (L, dL/dlp) of one sequence, with stop-gradients as the definitions have them; a batch is their sum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
Formula = Callable[[Array, Columns, Mapping[str, float]], tuple[float, Array]]


def cross_entropy(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """L = - sum w lp."""
    return float(-(x["weights"] * lp).sum()), -x["weights"]


def importance_sampling(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """L = - sum r A."""
    gradient = -np.exp(lp - x["logprobs"]) * x["advantages"]
    return float(gradient.sum()), gradient


def ppo(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """L = - sum min(r A, clip(r, low, high) A); flat where the clipped side is the smaller."""
    return _clipped_sum(np.exp(lp - x["logprobs"]), x, settings)


def cispo(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """L = - sum sg(clip(r, low, high)) lp A; every token keeps a gradient."""
    low, high = _thresholds(x, settings)
    gradient = -np.clip(np.exp(lp - x["logprobs"]), low, high) * x["advantages"]
    return float((gradient * lp).sum()), gradient


def dro(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """L = - sum (lp A - beta/2 (lp - q)^2)."""
    beta, gap = settings.get("beta", 0.05), lp - x["logprobs"]
    return float((beta / 2 * gap**2 - lp * x["advantages"]).sum()), beta * gap - x["advantages"]


def gspo(lp: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    """The clipped sum with one ratio s for the sequence; r_t = exp(s + lp_t - sg(lp_t)), so dr_t/dlp_t = exp(s)."""
    mask = x.get("sequence_ratio_mask", np.ones_like(lp))
    mean = float((mask * (lp - x["logprobs"])).sum() / max(mask.sum(), 1.0))
    return _clipped_sum(np.full_like(lp, np.exp(mean)), x, settings)


def _clipped_sum(ratio: Array, x: Columns, settings: Mapping[str, float]) -> tuple[float, Array]:
    low, high = _thresholds(x, settings)
    free, held = ratio * x["advantages"], np.clip(ratio, low, high) * x["advantages"]
    inside = (low < ratio) & (ratio < high)
    return float(-np.minimum(free, held).sum()), np.where((free < held) | inside, -free, 0.0)


def _thresholds(x: Columns, settings: Mapping[str, float]) -> tuple[Array, Array]:
    """Absolute bounds of the ratio: of every token where the datum has columns for them, else of the whole call."""
    low, high = (np.asarray(settings.get(f"clip_{side}_threshold", d)) for side, d in (("low", 0.8), ("high", 1.2)))
    return x.get("clip_low_threshold", low), x.get("clip_high_threshold", high)


@dataclass(frozen=True, slots=True)
class Case:
    """One loss with one choice of settings and optional columns."""

    loss: str
    settings: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    """What a datum carries beside targets, logprobs and advantages."""


FORMULAS: dict[str, Formula] = {f.__name__: f for f in (cross_entropy, importance_sampling, ppo, cispo, dro, gspo)}
THRESHOLDS = ("clip_low_threshold", "clip_high_threshold")
CASES: dict[str, Case] = {
    "cross_entropy": Case("cross_entropy", columns=("weights",)),
    "importance_sampling": Case("importance_sampling"),
    "ppo": Case("ppo"),
    "ppo narrow": Case("ppo", {"clip_low_threshold": 0.95, "clip_high_threshold": 1.02}),
    "ppo per token": Case("ppo", columns=THRESHOLDS),
    "cispo": Case("cispo"),
    "cispo wide": Case("cispo", {"clip_low_threshold": 0.5, "clip_high_threshold": 4.0}),
    "cispo per token": Case("cispo", columns=THRESHOLDS),
    "dro": Case("dro"),
    "dro strong": Case("dro", {"beta": 0.7}),
    "gspo": Case("gspo", columns=("sequence_ratio_mask",)),
    "gspo narrow": Case(
        "gspo", {"clip_low_threshold": 0.99, "clip_high_threshold": 1.01}, columns=("sequence_ratio_mask",)
    ),
}


def made_columns(case: Case, lp: Sequence[Array], seed: int = 7) -> list[dict[str, Array]]:
    """Columns of a batch around its log-probabilities, as float32 holds them: ratios of 0.5 to 2, both signs."""
    random = np.random.default_rng(seed)
    return [{name: _column(name, x, random) for name in _names(case)} for x in lp]


def _names(case: Case) -> tuple[str, ...]:
    return case.columns if case.loss == "cross_entropy" else ("logprobs", "advantages", *case.columns)


def _column(name: str, lp: Array, random: np.random.Generator) -> Array:
    drawn = {
        "weights": lambda: random.normal(size=lp.size) * 2,
        "logprobs": lambda: lp + random.normal(size=lp.size) * 0.3,
        "advantages": lambda: random.normal(size=lp.size) * (random.random(lp.size) > 0.2),
        "clip_low_threshold": lambda: random.uniform(0.6, 0.95, lp.size),
        "clip_high_threshold": lambda: random.uniform(1.05, 1.5, lp.size),
        "sequence_ratio_mask": lambda: (random.random(lp.size) > 0.3).astype(float),
    }[name]()
    return drawn.astype(np.float32).astype(np.float64)


def evaluate(case: Case, lp: Sequence[Array], columns: Sequence[Columns]) -> tuple[float, list[Array]]:
    """(L, dL/dlp of every sequence) of a batch."""
    parts = [FORMULAS[case.loss](x, c, case.settings) for x, c in zip(lp, columns, strict=True)]
    return sum(loss for loss, _ in parts), [gradient for _, gradient in parts]
