"""Log-probabilities of chosen tokens without the logits of a whole pass: a few rows at a time, forward and backward."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_NUMBERS = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Logits held at once on a kind of device, counted in numbers: 16 MB in float32, and 256 MB where passes over the
head's weight are what costs."""
FEWEST_ROWS = 16
"""From so many rows up, a matrix product gives each row the same bits whatever the others are."""


def selected_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
) -> Tensor:
    """ln softmax(hidden W^T / temperature)[target] in nats, in the shape of targets, float32 or wider, with gradients
    of all but targets and temperature.

    Args:
        hidden: [M, H] final hidden states.
        weight: [V, H] output head.
        targets: [M] int64 ids, or [M, K] for several of the same row, whose logits are made once.
        temperature: [M] the rollout's temperature.
        a, b: [r, H] and [V, r] factors of an adapted head, the scale already in b.
    """
    columns = targets if targets.dim() == 2 else targets[:, None]
    out: Tensor = _SelectedLogprobs.apply(hidden, weight, columns, temperature, a, b)  # type: ignore[no-untyped-call]
    return out if targets.dim() == 2 else out.squeeze(1)


class _SelectedLogprobs(torch.autograd.Function):
    """d ln p_t / d logits = (onehot_t - p) / temperature, recomputed chunk by chunk in the backward pass.

    Targets are [M, K]; the gradients of a row's K targets add up before they meet its logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: Tensor,
        a: Tensor | None,
        b: Tensor | None,
    ) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        out = torch.empty(targets.shape, dtype=wide, device=hidden.device)
        normaliser = torch.empty(len(hidden), 1, dtype=wide, device=hidden.device)
        for rows in _chunks(len(hidden), weight):
            chosen, normaliser[rows] = _chosen(_logits(hidden[rows], weight, temperature[rows], a, b), targets[rows])
            out[rows] = chosen - normaliser[rows]
        ctx.save_for_backward(hidden, weight, targets, temperature, a, b, normaliser)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, temperature, a, b, normaliser = ctx.saved_tensors
        needs_hidden, needs_weight, _, _, needs_a, needs_b = ctx.needs_input_grad
        d_hidden = torch.zeros_like(hidden) if needs_hidden else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_a = torch.zeros_like(a) if needs_a else None
        d_b = torch.zeros_like(b) if needs_b else None
        for rows in _chunks(len(hidden), weight):
            if not grad[rows].any():  # a prompt that is scored but not trained costs nothing here
                continue
            h = hidden[rows]
            p = _logits(h, weight, temperature[rows], a, b).sub_(normaliser[rows]).exp_()
            total = grad[rows] if grad.shape[1] == 1 else grad[rows].sum(1, keepdim=True)
            p.mul_(-total).scatter_add_(1, targets[rows], grad[rows])
            g = p.div_(temperature[rows, None]).to(h.dtype)  # [m, V] gradient of the logits
            if d_hidden is not None:
                d_hidden[rows] = g @ weight if b is None else g @ weight + (g @ b) @ a
            if d_weight is not None:
                d_weight.addmm_(g.T, h)
            if d_a is not None:
                d_a.addmm_((g @ b).T, h)
            if d_b is not None:
                d_b.addmm_(g.T, F.linear(h, a))
            del p, g  # before the next chunk's logits are made, so that only one chunk is ever held
        return d_hidden, d_weight, None, None, d_a, d_b


def _chunks(rows: int, weight: Tensor) -> list[slice]:
    """Few rows at a time; a rest too small to be a chunk goes with the one before it."""
    size = max(FEWEST_ROWS, CHUNK_NUMBERS.get(weight.device.type, CHUNK_NUMBERS["cpu"]) // len(weight))
    starts = [*range(0, max(1, rows - FEWEST_ROWS + 1), size)]
    return [slice(start, end) for start, end in pairwise([*starts, rows])]


def _chosen(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """([m, K] chosen logits, [m, 1] logsumexp) of [m, V] logits, which are used up."""
    chosen = logits.gather(1, targets)
    largest = logits.amax(-1, keepdim=True)
    return chosen, logits.sub_(largest).exp_().sum(-1, keepdim=True).log() + largest


def _logits(h: Tensor, weight: Tensor, temperature: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """[m, V] float32 or wider, after the temperature."""
    y = F.linear(h, weight)
    if a is not None and b is not None:
        y = y + F.linear(F.linear(h, a), b)
    wide = y if y.dtype == torch.float64 else y.float()
    return wide.div_(temperature[:, None])
