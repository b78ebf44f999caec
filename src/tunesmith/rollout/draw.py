"""Drawing a token from logits: temperature, then top-k, then top-p, with a stream of numbers per candidate."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Drawn:
    """[R] each."""

    tokens: Tensor
    logprobs: Tensor
    """Nats, of the softmax at the temperature over the whole vocabulary."""
    sampling_logprobs: Tensor
    """Nats, of what was left after top-k and top-p."""


def stream(seed: int, candidate: int) -> np.uint64:
    """The name of a candidate's stream; different for every (seed, candidate)."""
    return _mix(np.array([seed], np.uint64) * _GOLDEN + np.uint64(candidate + 1))[0]  # type: ignore[no-any-return]


def uniforms(streams: NDArray[np.uint64], index: NDArray[np.uint64]) -> NDArray[np.float64]:
    """[R] numbers in [0, 1): the index-th of each stream, whatever else is in the batch."""
    return (_mix(streams + index * _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> Drawn:
    """One token per row by the inverse of the cumulative distribution, in float64.

    Args:
        logits: [R, V] float32.
        temperature: [R]; 0 takes the likeliest token, with the log-probabilities of temperature 1.
        top_k: [R] int64, 0 keeps all.
        top_p: [R].
        uniform: [R] float64 in [0, 1).
    """
    vocab = logits.shape[-1]
    greedy = temperature == 0
    scaled = logits / torch.where(greedy, 1.0, temperature)[:, None]
    logp = scaled - scaled.logsumexp(-1, keepdim=True)  # as the trainer computes it
    keep = torch.where((top_k == 0) | (top_k > vocab), vocab, top_k).masked_fill(greedy, 1)
    # Rows are cut together only with rows that keep as many: what is drawn must not depend on the others' settings.
    kinds = keep.masked_fill((keep == vocab) & (top_p >= 1), 0)
    distinct = kinds.unique().tolist()
    if len(distinct) == 1:
        return _draw_alike(logp, distinct[0], top_p, uniform)
    out = Drawn(torch.empty_like(top_k), torch.empty_like(logp[:, 0]), torch.empty_like(logp[:, 0]))
    for kind in distinct:
        rows = (kinds == kind).nonzero()[:, 0]
        own = _draw_alike(logp[rows], kind, top_p[rows], uniform[rows])
        out.tokens[rows], out.logprobs[rows], out.sampling_logprobs[rows] = (
            own.tokens,
            own.logprobs,
            own.sampling_logprobs,
        )
    return out


def _draw_alike(logp: Tensor, keep: int, top_p: Tensor, uniform: Tensor) -> Drawn:
    """[R, V] log-probabilities whose rows all keep the ``keep`` likeliest tokens; 0 keeps all of them, uncut."""
    if keep == 0:
        tokens = _invert(logp.double().exp().cumsum(-1), uniform)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
        return Drawn(tokens, chosen, chosen)
    values, order = logp.topk(keep)  # [R, k], likeliest first
    mass = values.double().exp()
    share = mass / mass.sum(-1, keepdim=True)
    kept = mass.masked_fill(share.cumsum(-1) - share >= top_p[:, None], 0)
    pick = _invert(kept.cumsum(-1), uniform)[:, None]
    cut = (kept.gather(1, pick) / kept.sum(-1, keepdim=True)).log()[:, 0].float()
    return Drawn(order.gather(1, pick)[:, 0], values.gather(1, pick)[:, 0], cut)


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """[R] index where the cumulative mass first exceeds its share; never one without mass."""
    goal = uniform * cumulative[:, -1]
    return torch.searchsorted(cumulative, goal[:, None], right=True)[:, 0].clamp(max=cumulative.shape[-1] - 1)
