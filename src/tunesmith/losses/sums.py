"""The losses of the Training API: weighted sums over tokens, divided by ``norm.tokens`` and nothing else.

With ``PLAIN_SUM`` they are plain sums; SFT passes ``Norm(tokens=total weight, ...)`` to make cross_entropy a mean.
Symbols: w = weight, lp = ln p of the policy being trained, old = ln q of the policy that sampled, A = advantage,
r = p / q, sg = stop-gradient. Thresholds are absolute bounds of the ratio, not distances from 1; a token's own, in
``LossInputs.clip_low`` and ``clip_high``, come before the settings.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, minimum

from tunesmith.core.errors import UserError
from tunesmith.losses.base import LossInputs, LossOutput, Norm, checked, ratio_of

CLIP_LOW, CLIP_HIGH = 0.8, 1.2
"""Bounds of the ratio where none are given: the 0.2 of PPO, and ours for gspo, whose paper has narrower ones."""


@checked
def cross_entropy(x: LossInputs, norm: Norm) -> LossOutput:
    """Raise the likelihood of the targets: L = - sum w lp, nats; over K targets of each token where it has so many.

    Weights may be negative or of any size: custom losses send w = -dC/dlp to get the gradient of any C.
    """
    return _weighted_sum(x, norm, -x.logprobs)


@checked
def importance_sampling(x: LossInputs, norm: Norm) -> LossOutput:
    """Policy gradient corrected for the sampler, without a trust region: L = - sum w r A, reward units."""
    ratio, advantages = _ratio_and_advantages(x)
    return _weighted_sum(x, norm, -ratio * advantages)


@checked
def ppo(
    x: LossInputs, norm: Norm, clip_low_threshold: float = CLIP_LOW, clip_high_threshold: float = CLIP_HIGH
) -> LossOutput:
    """The clipped surrogate of PPO 1707.06347: L = - sum w min(r A, clip(r, low, high) A), reward units."""
    check_thresholds("loss ppo", clip_low_threshold, clip_high_threshold)
    ratio, advantages = _ratio_and_advantages(x)
    clipped = _clip(x, ratio, clip_low_threshold, clip_high_threshold)
    return _weighted_sum(x, norm, -minimum(ratio * advantages, clipped * advantages))


@checked
def cispo(
    x: LossInputs, norm: Norm, clip_low_threshold: float = CLIP_LOW, clip_high_threshold: float = CLIP_HIGH
) -> LossOutput:
    """CISPO 2506.13585, where clipped tokens keep a gradient: L = - sum w sg(clip(r, low, high)) A lp.

    In reward units times nats; only its gradient has a meaning.
    """
    check_thresholds("loss cispo", clip_low_threshold, clip_high_threshold)
    ratio, advantages = _ratio_and_advantages(x)
    clipped = _clip(x, ratio.detach(), clip_low_threshold, clip_high_threshold)
    return _weighted_sum(x, norm, -clipped * advantages * x.logprobs)


@checked
def gspo(
    x: LossInputs, norm: Norm, clip_low_threshold: float = CLIP_LOW, clip_high_threshold: float = CLIP_HIGH
) -> LossOutput:
    """GSPO-token 2507.18071 as a plain sum: PPO's, with one length-normalised ratio for a whole sequence.

        s = mean over masked tokens of (sg(lp) - old),   r_t = exp(s + lp_t - sg(lp_t))
        L = - sum w min(r_t A, clip(r_t, low, high) A), reward units

    Masked are the tokens with ``ratio_mask`` not 0, without one those with a weight; where there are none, s = 0.
    """
    check_thresholds("loss gspo", clip_low_threshold, clip_high_threshold)
    assert x.old_logprobs is not None and x.advantages is not None, "gspo needs old_logprobs and advantages"
    counts = x.trained() if x.ratio_mask is None else (x.ratio_mask != 0).to(x.logprobs.dtype)
    lp = x.logprobs.detach()
    mean = x.per_sequence((lp - x.old_logprobs) * counts) / x.per_sequence(counts).clamp(min=1)
    ratio = ratio_of(x.logprobs - lp + mean[x.segment])
    clipped = _clip(x, ratio, clip_low_threshold, clip_high_threshold)
    return _weighted_sum(x, norm, -minimum(ratio * x.advantages, clipped * x.advantages))


@checked
def dro(x: LossInputs, norm: Norm, beta: float = 0.05) -> LossOutput:
    """DRO 2405.19107 per token, held to the sampler by a square: L = - sum w (lp A - beta/2 (lp - old)^2).

    The square is at every weighted token, also where A is 0; beta is in reward units per nat.
    """
    if beta < 0:
        raise UserError("loss dro, beta", f"must not be negative (got {beta:g})", "Give 0 or more, for example 0.05")
    assert x.old_logprobs is not None and x.advantages is not None, "dro needs old_logprobs and advantages"
    distance = (x.logprobs - x.old_logprobs) ** 2
    return _weighted_sum(x, norm, beta / 2 * distance - x.logprobs * x.advantages)


def _weighted_sum(x: LossInputs, norm: Norm, terms: Tensor) -> LossOutput:
    return LossOutput((x.weights * terms).sum() / norm.tokens, {})


def _ratio_and_advantages(x: LossInputs) -> tuple[Tensor, Tensor]:
    assert x.old_logprobs is not None and x.advantages is not None, "this loss needs old_logprobs and advantages"
    return ratio_of(x.logprobs - x.old_logprobs), x.advantages


def _clip(x: LossInputs, ratio: Tensor, low: float, high: float) -> Tensor:
    """[N] ratios within the thresholds of each token."""
    if x.clip_low is None and x.clip_high is None:
        return ratio.clamp(low, high)
    lowest = ratio.new_full((), low) if x.clip_low is None else x.clip_low.nan_to_num(low)
    highest = ratio.new_full((), high) if x.clip_high is None else x.clip_high.nan_to_num(high)
    return ratio.clamp(lowest, highest)


def check_own_thresholds(
    where: str, low: NDArray[Any] | None, high: NDArray[Any] | None, settings: Mapping[str, float]
) -> None:
    """Refuse [T] thresholds that are no ranges of ratios; the side that is not given is the setting's.

    Raises:
        UserError: names ``where``, the first such token and its range.
    """
    if low is None and high is None:
        return  # nothing of its own: the loss itself looks at its settings
    lows = np.atleast_1d(settings.get("clip_low_threshold", CLIP_LOW) if low is None else low)
    highs = np.atleast_1d(settings.get("clip_high_threshold", CLIP_HIGH) if high is None else high)
    for at in np.flatnonzero(~((lows >= 0) & (lows <= highs)))[:1]:
        check_thresholds(f"{where}, token {at}", float(lows[at % len(lows)]), float(highs[at % len(highs)]))


def check_thresholds(where: str, low: float, high: float) -> None:
    """Refuse what is no range of ratios."""
    if not 0 <= low <= high:
        problem = f"clip_low_threshold {low:g} to clip_high_threshold {high:g} is no range of ratios"
        raise UserError(where, problem, "Give 0 <= low <= high, for example 0.8 and 1.2")
