"""The clipped policy-gradient loss behind grpo, dapo and gspo-token."""

import torch
from torch import Tensor

from tunesmith.losses.base import MAX_LOG_RATIO, LossInputs, LossOutput, Norm, checked, ratio_of
from tunesmith.spec.loss import KlEstimator, PolicyLoss


@checked
def policy_loss(x: LossInputs, norm: Norm, cfg: PolicyLoss) -> LossOutput:
    """Raise the likelihood of tokens with positive advantage, within a trust region around the sampler.

        L = - sum_t c_t min(r_t A_t, clip(r_t, 1 - lo, 1 + hi) A_t)  +  beta sum_t c_t k_t

        p, q, ref = policy being trained, policy that sampled, frozen reference; d_t = ln ref_t - ln p_t
        sg = stop-gradient, w_t = weight, |y| = tokens of the sequence with w_t != 0
        r_t = p_t / q_t                                      ratio "token":     GRPO 2402.03300, DAPO 2503.14476
        r_t = sg[exp(mean_t ln(p_t / q_t))] p_t / sg[p_t]    ratio "sequence":  GSPO-token 2507.18071
        k_t = exp(d_t) - d_t - 1             "k3":           unbiased value, gradient of the forward KL(ref || p)
        k_t = d_t^2 / 2                      "k2":           biased value, exact gradient of KL(p || ref)
        k_t = p_t / q_t (exp(d_t) - d_t - 1) "k3_unbiased":  value and gradient of KL(p || ref), q = p or not
        c_t = w_t / tokens           "token-mean":     long sequences weigh more
        c_t = w_t / |y| / sequences  "sequence-mean":  every sequence weighs alike

    Args:
        x: packed micro-batch; needs old_logprobs and advantages, and ref_logprobs when cfg.kl_coef > 0.
        norm: trained tokens and sequences of the whole optimizer step.
        cfg: clip bounds (dimensionless), KL weight (reward units per nat), ratio and aggregation.

    Returns:
        Loss in reward units, with sums over t of c_t times: policy/clip_share (1 where the clip stops the gradient),
        policy/ratio_mean (r_t), policy/kl_old (k3 estimate of KL(q || p), nats), policy/kl_ref (k3, nats, when
        cfg.kl_coef > 0).
    """
    assert x.old_logprobs is not None and x.advantages is not None, "policy_loss needs old_logprobs and advantages"
    log_ratio = x.logprobs - x.old_logprobs
    token_ratio = ratio_of(log_ratio)
    scale = _token_scale(x, norm, cfg.aggregate)
    ratio = token_ratio if cfg.ratio == "token" else _sequence_ratio(x, log_ratio)
    free = ratio * x.advantages
    clipped = ratio.clamp(1 - cfg.clip_low, 1 + cfg.clip_high) * x.advantages
    loss = -(scale * torch.minimum(free, clipped)).sum()
    metrics = {
        "policy/clip_share": (scale * (clipped < free)).sum().detach(),
        "policy/ratio_mean": (scale * ratio).sum().detach(),
        "policy/kl_old": (scale * (token_ratio - log_ratio - 1)).sum().detach(),
    }
    if cfg.kl_coef:
        assert x.ref_logprobs is not None, "kl_coef > 0 needs ref_logprobs"
        gap = x.ref_logprobs - x.logprobs
        loss = loss + cfg.kl_coef * (scale * _kl(gap, token_ratio, cfg.kl_estimator)).sum()
        metrics["policy/kl_ref"] = (scale * _k3(gap)).sum().detach()
    return LossOutput(loss, metrics)


def _sequence_ratio(x: LossInputs, log_ratio: Tensor) -> Tensor:
    """[N] geometric mean ratio of the token's sequence; the gradient runs through the token itself."""
    mean = x.per_sequence(log_ratio.detach() * x.trained()) / x.lengths()
    return ratio_of(x.logprobs - x.logprobs.detach() + mean[x.segment])


def _kl(gap: Tensor, token_ratio: Tensor, estimator: KlEstimator) -> Tensor:
    """[N] estimate of KL(p || ref) at each token, nats, from gap = ln ref - ln p."""
    if estimator == "k2":
        return gap**2 / 2
    return _k3(gap) * token_ratio if estimator == "k3_unbiased" else _k3(gap)


def _k3(gap: Tensor) -> Tensor:
    """exp(d) - d - 1. Bounded above only: far below, exp is harmless and the pull to the reference must not stop."""
    gap = gap.clamp(max=MAX_LOG_RATIO)
    return gap.exp() - gap - 1


def _token_scale(x: LossInputs, norm: Norm, aggregate: str) -> Tensor:
    """[N] weight of each token in the sum; zero where the token is not trained."""
    if aggregate == "token-mean":
        return x.weights / norm.tokens
    return x.weights / x.lengths()[x.segment] / norm.sequences
