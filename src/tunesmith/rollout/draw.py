"""Drawing a token from logits: temperature, then grammar, top-k and top-p, with a stream of numbers per candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.core.types import Bools, Floats, Ints, SamplingParams

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def streams(seed: int, candidates: NDArray[np.int64]) -> NDArray[np.uint64]:
    """[R] names of the candidates' streams; different for every (seed, candidate)."""
    return _mix(np.array([seed], np.uint64) * _GOLDEN + (candidates + 1).astype(np.uint64))


def uniforms(streams: NDArray[np.uint64], index: NDArray[np.uint64]) -> NDArray[np.float64]:
    """[R] numbers in [0, 1): the index-th of each stream, whatever else is in the batch."""
    return (_mix(streams + index * _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Drawn:
    """[R] each."""

    tokens: Tensor
    logprobs: Tensor
    """Nats, of the softmax at the temperature over the whole vocabulary."""
    sampling_logprobs: Tensor
    """Nats, of what was left after the grammar, top-k and top-p."""
    entropies: Tensor | None
    """Nats, of the softmax of ``logprobs``, in thousandths; None where no row asked for them."""
    likeliest: dict[int, tuple[Ints, Floats]]
    """By the number of a row that asked for them: [k] likeliest ids and their nats, of the softmax of ``logprobs``."""


class Drawing:
    """How each of R rows draws; worked out once for as long as the same rows run."""

    def __init__(self, params: Sequence[SamplingParams], vocab: int, device: torch.device) -> None:
        # Temperature 0 takes the likeliest token, with the log-probabilities of temperature 1.
        self._temperature = torch.tensor([p.temperature or 1.0 for p in params], device=device)[:, None]
        self._top_p = torch.tensor([p.top_p for p in params], device=device)[:, None]
        # Rows are cut together only with rows that keep as many: what is drawn must not depend on the others' settings.
        self._cuts = _alike([_kept(p, vocab) for p in params], device)
        self._tops = _alike([p.top_logprobs for p in params], device)
        self._entropies = any(p.entropies for p in params)

    def draw(self, logits: Tensor, uniform: Tensor, allowed: Mapping[int, Bools] | None = None) -> Drawn:
        """One token per row by the inverse of the cumulative distribution, in float64.

        Args:
            logits: [R, V] float32.
            uniform: [R] float64 in [0, 1).
            allowed: number of a row -> [V] the tokens it may draw, where it may not draw all.
        """
        scaled = logits / self._temperature
        logp = scaled - scaled.logsumexp(-1, keepdim=True)  # as the trainer computes it
        more = (_entropies(logp) if self._entropies else None, self._likeliest(logp))
        if allowed:
            tokens, _, cut = self._cut(_within(logp, allowed), uniform)
            return Drawn(tokens, logp.gather(1, tokens[:, None])[:, 0], cut, *more)
        return Drawn(*self._cut(logp, uniform), *more)

    def _cut(self, logp: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens, their entries in logp, their log-probabilities among those that were kept), [R] each."""
        if len(self._cuts) == 1:
            (keep,) = self._cuts
            return _draw(logp, keep, self._top_p, uniform)
        tokens = torch.empty(len(logp), dtype=torch.int64, device=logp.device)
        whole, cut = torch.empty_like(logp[:, 0]), torch.empty_like(logp[:, 0])
        for keep, rows in self._cuts.items():
            tokens[rows], whole[rows], cut[rows] = _draw(logp[rows], keep, self._top_p[rows], uniform[rows])
        return tokens, whole, cut

    def _likeliest(self, logp: Tensor) -> dict[int, tuple[Ints, Floats]]:
        out: dict[int, tuple[Ints, Floats]] = {}
        for k, rows in self._tops.items():
            if k:
                nats, ids = (x.cpu().numpy() for x in logp[rows].topk(k))
                out |= zip(rows.tolist(), zip(ids.astype(np.int32), nats, strict=True), strict=True)
        return out


def _entropies(logp: Tensor) -> Tensor:
    """[R] sum of -p ln p; thousandths of a nat say enough, and keep well."""
    return -(logp.exp() * logp.clamp(min=-1e4)).sum(-1).mul(1000).round().div(1000)


def _kept(p: SamplingParams, vocab: int) -> int:
    """The k of top-k, whole vocabulary included; 0 where nothing is cut at all."""
    if p.temperature == 0:
        return 1
    keep = p.top_k if 0 < p.top_k < vocab else vocab
    return 0 if keep == vocab and np.float32(p.top_p) >= 1 else keep


def _alike(values: Sequence[int], device: torch.device) -> dict[int, Tensor]:
    """[n] rows of each value."""
    column = torch.tensor(values, device=device)
    return {value: (column == value).nonzero()[:, 0] for value in sorted(set(values))}


def _within(logp: Tensor, allowed: Mapping[int, Bools]) -> Tensor:
    """[R, V] the same, but rows that may not draw all have the softmax over what they may: the others keep their bits.

    It is normed before it becomes a mass, which what is allowed may have too little of to be a number.
    """
    rows = torch.tensor(list(allowed), device=logp.device)
    may = torch.from_numpy(np.stack(list(allowed.values()))).to(logp.device)
    inside = logp[rows].masked_fill(~may, -torch.inf)
    out = logp.clone()
    out[rows] = inside - inside.logsumexp(-1, keepdim=True)
    return out


def _draw(logp: Tensor, keep: int, top_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[R, V] log-probabilities whose rows all keep the ``keep`` likeliest tokens; 0 keeps all of them, uncut."""
    if keep == 0:
        tokens = invert(logp.double().exp().cumsum(-1), uniform[:, None])
        chosen = logp.gather(1, tokens)[:, 0]
        return tokens[:, 0], chosen, chosen
    values, order = logp.topk(keep)  # [R, k], likeliest first
    mass = values.double().exp()
    share = mass / mass.sum(-1, keepdim=True)
    beyond = share.cumsum(-1) - share >= top_p
    beyond[:, 0] = False  # a top_p of 0 keeps the likeliest
    kept = mass.masked_fill(beyond, 0)
    pick = invert(kept.cumsum(-1), uniform[:, None])
    cut = (kept.gather(1, pick) / kept.sum(-1, keepdim=True)).log()[:, 0].float()
    return order.gather(1, pick)[:, 0], values.gather(1, pick)[:, 0], cut


def invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """[R, n] index where the [R, V] cumulative mass first exceeds its share of it; never one without mass."""
    goal = uniform * cumulative[:, -1:]
    return torch.searchsorted(cumulative, goal, right=True).clamp(max=cumulative.shape[-1] - 1)
