"""The losses of the Training API: weighted sums over tokens, divided by ``norm.tokens`` and nothing else.

With ``PLAIN_SUM`` they are plain sums; SFT passes ``Norm(tokens=total weight, ...)`` to make cross_entropy a mean.
Symbols: w = weight, lp = ln p of the policy being trained, old = ln q of the policy that sampled, A = advantage,
r = p / q, sg = stop-gradient.
"""

from torch import Tensor, minimum

from tunesmith.core.errors import UserError
from tunesmith.losses.base import LossInputs, LossOutput, Norm, checked, ratio_of


@checked
def cross_entropy(x: LossInputs, norm: Norm) -> LossOutput:
    """Raise the likelihood of the targets: L = - sum w lp, nats.

    Weights may be negative or of any size: custom losses send w = -dC/dlp to get the gradient of any C.
    """
    return _weighted_sum(x, norm, -x.logprobs)


@checked
def importance_sampling(x: LossInputs, norm: Norm) -> LossOutput:
    """Policy gradient corrected for the sampler, without a trust region: L = - sum w r A, reward units."""
    ratio, advantages = _ratio_and_advantages(x)
    return _weighted_sum(x, norm, -ratio * advantages)


@checked
def ppo(x: LossInputs, norm: Norm, clip_low_threshold: float = 0.8, clip_high_threshold: float = 1.2) -> LossOutput:
    """The clipped surrogate of PPO 1707.06347: L = - sum w min(r A, clip(r, low, high) A), reward units.

    The thresholds are absolute bounds of the ratio, not distances from 1.
    """
    _check_thresholds("ppo", clip_low_threshold, clip_high_threshold)
    ratio, advantages = _ratio_and_advantages(x)
    clipped = ratio.clamp(clip_low_threshold, clip_high_threshold)
    return _weighted_sum(x, norm, -minimum(ratio * advantages, clipped * advantages))


@checked
def cispo(x: LossInputs, norm: Norm, clip_low_threshold: float = 0.8, clip_high_threshold: float = 1.2) -> LossOutput:
    """CISPO 2506.13585, where clipped tokens keep a gradient: L = - sum w sg(clip(r, low, high)) A lp.

    The thresholds are absolute bounds of the ratio. In reward units times nats; only its gradient has a meaning.
    """
    _check_thresholds("cispo", clip_low_threshold, clip_high_threshold)
    ratio, advantages = _ratio_and_advantages(x)
    clipped = ratio.detach().clamp(clip_low_threshold, clip_high_threshold)
    return _weighted_sum(x, norm, -clipped * advantages * x.logprobs)


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


def _check_thresholds(loss: str, low: float, high: float) -> None:
    if not 0 <= low <= high:
        problem = f"clip_low_threshold {low:g} to clip_high_threshold {high:g} is no range of ratios"
        raise UserError(f"loss {loss}", problem, "Give 0 <= low <= high, for example 0.8 and 1.2")
