"""Golden values and gradients worked by hand. Ratios are written as p/q so that each can be checked on paper."""

import math
from dataclasses import replace

import pytest
import torch
from losses.packed import packed

from tunesmith.core.errors import UserError
from tunesmith.losses.base import Norm
from tunesmith.losses.policy import policy_loss
from tunesmith.spec.loss import METHODS, PolicyLoss

DAPO, GSPO = METHODS["dapo"], METHODS["gspo-token"]
SEQUENCE_MEAN = PolicyLoss(aggregate="sequence-mean")
WIDE_GSPO = PolicyLoss(ratio="sequence", clip_low=0.5, clip_high=3.0, aggregate="sequence-mean")


def gradient(x, norm, cfg):
    policy_loss(x, norm, cfg).loss.backward()
    return x.logprobs.grad.tolist()


@pytest.mark.parametrize(
    ("name", "cfg", "ratios", "advantages", "expected"),
    [
        # token-mean over 3 tokens: -(min(1.5, 1.2) + min(0.5, 0.8) + 1) / 3 = -(1.2 + 0.5 + 1) / 3
        ("clips above", PolicyLoss(), [[1.5, 0.5], [1.0]], [1.0, 1.0], -0.9),
        # a negative advantage takes the worse side: -(-1.5 - 0.8 + 1) / 3
        ("clips below", PolicyLoss(), [[1.5, 0.5], [1.0]], [-1.0, 1.0], 1.3 / 3),
        # dapo raises the ceiling to 1.28: -(1.28 + 0.5 + 1) / 3
        ("dapo", DAPO, [[1.5, 0.5], [1.0]], [1.0, 1.0], -2.78 / 3),
        # and keeps the floor at 0.8: -(-1.5 - 0.8 + 1) / 3
        ("dapo floor", DAPO, [[1.5, 0.5], [1.0]], [-1.0, 1.0], 1.3 / 3),
        # sequence-mean: -(mean(1.2, 0.5) + 1) / 2
        ("sequence mean", SEQUENCE_MEAN, [[1.5, 0.5], [1.0]], [1.0, 1.0], -0.925),
        # gspo: geometric mean of (4, 1/4) is 1, of (1.21, 1) is 1.1 -> ceiling 1.0004: -(1 + 1.0004) / 2
        ("gspo-token", GSPO, [[4.0, 0.25], [1.21, 1.0]], [1.0, 1.0], -1.0002),
        # below, A < 0: geometric mean of (0.81, 1) is 0.9 -> floor 0.9997: 0.9997
        ("gspo-token floor", GSPO, [[0.81, 1.0]], [-1.0], 0.9997),
    ],
)
def test_golden(name, cfg, ratios, advantages, expected):
    tokens = sum(map(len, ratios))
    out = policy_loss(packed(ratios, advantages), Norm(tokens, len(ratios)), cfg)
    assert out.loss.item() == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize(
    ("name", "cfg", "ratios", "advantages", "expected"),
    [
        # 1.5 is above the ceiling: flat. 0.5 is open: -c r A = -(1/2)(0.5)(1)
        ("ceiling", PolicyLoss(), [[1.5, 0.5]], [1.0], [0.0, -0.25]),
        # A = -2: 0.5 is below the floor: flat. 1.5 is open: -c r A = -(1/2)(1.5)(-2)
        ("floor", PolicyLoss(), [[1.5, 0.5]], [-2.0], [1.5, 0.0]),
        # dapo leaves 1.25 open: -(1/2)(1.25)(1)
        ("dapo", DAPO, [[1.25, 1.5]], [1.0], [-0.625, 0.0]),
        # each sequence weighs 1/2, a token of the pair 1/4: -(1/4) r, -(1/2) r
        ("sequence mean", SEQUENCE_MEAN, [[1.1, 0.5], [0.9]], [1.0, 1.0], [-0.275, -0.125, -0.45]),
        # on-policy the loss is 0, the gradient is not: -c A
        ("on policy", PolicyLoss(), [[1.0], [1.0]], [1.0, -1.0], [-0.5, 0.5]),
        # the geometric mean is 1, so both tokens carry -c s A = -(1/2)(1)(1), whatever their own ratio
        ("gspo-token", GSPO, [[4.0, 0.25]], [1.0], [-0.5, -0.5]),
        # s = 1.1 is above the ceiling: flat for the whole sequence
        ("gspo-token ceiling", GSPO, [[1.21, 1.0]], [1.0], [0.0, 0.0]),
        # s = sqrt(4 * 1) = 2 inside a wide range: -c s A = -(1/2)(2)(1) for both tokens
        ("gspo-token wide", WIDE_GSPO, [[4.0, 1.0]], [1.0], [-1.0, -1.0]),
        # A < 0, s = 0.4 below the floor 0.5: flat; s = 2 open: -(1/2 sequences)(2)(-1)
        ("gspo-token floor", WIDE_GSPO, [[0.4], [2.0]], [-1.0, -1.0], [0.0, 1.0]),
    ],
)
def test_golden_gradient(name, cfg, ratios, advantages, expected):
    found = gradient(packed(ratios, advantages), Norm(sum(map(len, ratios)), len(ratios)), cfg)
    assert found == pytest.approx(expected, abs=1e-12), name


def test_gspo_token_gives_each_token_its_own_advantage():
    # s = sqrt(4 * 1) = 2 for both, but A differs: -(1/2)(2)(1), -(1/2)(2)(3); GSPO would give both their mean
    x = replace(packed([[4.0, 1.0]], [0.0]), advantages=torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert gradient(x, Norm(2, 1), WIDE_GSPO) == pytest.approx([-1.0, -3.0])


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_sequence_length_counts_weights_other_than_zero(weight):
    # s = sqrt(4 * 1) = 2 over the two trained tokens alone: 100 is not seen, and |y| is 2 whatever their weight
    x = packed([[4.0, 100.0, 1.0]], [1.0])
    x = replace(x, weights=torch.tensor([weight, 0.0, weight], dtype=torch.float64))
    out = policy_loss(x, Norm(2, 1), WIDE_GSPO)
    assert out.loss.item() == pytest.approx(-2 * weight)
    assert gradient(x, Norm(2, 1), WIDE_GSPO) == pytest.approx([-weight, 0.0, -weight])


@pytest.mark.parametrize(
    ("estimator", "ratio", "value", "slope"),
    [
        # d = ln 2: k3 = 2 - ln 2 - 1, dk3/dlnp = 1 - e^d = -1, whatever the ratio
        ("k3", 1.0, 1 - math.log(2), -1.0),
        ("k3", 0.5, 1 - math.log(2), -1.0),
        # k2 = d^2 / 2, dk2/dlnp = -d
        ("k2", 0.5, math.log(2) ** 2 / 2, -math.log(2)),
        # r k3, and its slope r (k3 + 1 - e^d) = -r d
        ("k3_unbiased", 0.5, 0.5 * (1 - math.log(2)), -0.5 * math.log(2)),
    ],
)
def test_kl_to_the_reference(estimator, ratio, value, slope):
    x = packed([[ratio]], [0.0], ref_gap=math.log(2))
    cfg = PolicyLoss(kl_coef=0.1, kl_estimator=estimator)
    out = policy_loss(x, Norm(1, 1), cfg)
    assert out.loss.item() == pytest.approx(0.1 * value, abs=1e-12)
    assert out.metrics["policy/kl_ref"].item() == pytest.approx(1 - math.log(2))
    assert gradient(x, Norm(1, 1), cfg) == pytest.approx([0.1 * slope])


def test_the_kl_of_a_sequence_ratio_is_corrected_token_by_token():
    # d = ln 2 and p/q = (4, 1/4): beta/2 (4 + 1/4) k3, although the sequence ratio is 1
    x = packed([[4.0, 0.25]], [0.0], ref_gap=math.log(2))
    cfg = PolicyLoss(ratio="sequence", kl_coef=1.0, kl_estimator="k3_unbiased")
    assert policy_loss(x, Norm(2, 1), cfg).loss.item() == pytest.approx(2.125 * (1 - math.log(2)))


def test_metrics():
    # ratios 1.5 (clipped), 0.5 and 0.6 (open, A > 0), 1: shares and means over 4 tokens
    out = policy_loss(packed([[1.5, 0.5], [0.6, 1.0]], [1.0, 1.0], 0.3), Norm(4, 2), METHODS["grpo"])
    expected = {
        "policy/clip_share": 0.25,
        "policy/ratio_mean": 0.9,
        # (r - ln r - 1) / 4, with r summing to 3.6 and multiplying to 0.45
        "policy/kl_old": (3.6 - math.log(0.45) - 4) / 4,
        "policy/kl_ref": math.exp(0.3) - 1.3,
    }
    assert {k: v.item() for k, v in out.metrics.items()} == pytest.approx(expected)
    assert not any(v.requires_grad for v in out.metrics.values())


def test_metrics_of_a_sequence_ratio():
    # s = sqrt(4 * 1) = 2 and 1, each sequence half; kl_old stays per token: ((3 - ln 4 + 0) / 2 + 0) / 2
    out = policy_loss(packed([[4.0, 1.0], [1.0]], [1.0, 1.0]), Norm(3, 2), GSPO)
    expected = {"policy/clip_share": 0.5, "policy/ratio_mean": 1.5, "policy/kl_old": (3 - math.log(4)) / 4}
    assert {k: v.item() for k, v in out.metrics.items()} == pytest.approx(expected)


@pytest.mark.parametrize("cfg", [PolicyLoss(clip_high=1e12, clip_low=1), GSPO.model_copy(update={"clip_high": 1e12})])
@pytest.mark.parametrize(("log_ratio", "bounded"), [(300.0, 20.0), (-300.0, -20.0)])
def test_log_ratios_are_held_within_20(cfg, log_ratio, bounded):
    # exp(300) would be 1e130; the ratio stays at exp(+-20) and its gradient is 0
    x = packed([[1.0]], [1.0 if log_ratio > 0 else 0.0])
    x = replace(x, logprobs=(x.old_logprobs + log_ratio).requires_grad_())
    out = policy_loss(x, Norm(1, 1), cfg)
    assert out.metrics["policy/ratio_mean"].item() == pytest.approx(math.exp(bounded), rel=1e-9)
    assert gradient(x, Norm(1, 1), cfg) == [0.0]


@pytest.mark.parametrize(
    ("gap", "value", "slope"),
    # far above, exp is cut at e^20 and flat; far below, k3 = 50 - 1 keeps its pull back to the reference
    [(50.0, math.exp(20) - 21, 0.0), (-50.0, 49.0, 1.0)],
)
def test_k3_cannot_overflow_and_keeps_its_pull(gap, value, slope):
    x, cfg = packed([[1.0]], [0.0], ref_gap=gap), PolicyLoss(kl_coef=1.0)
    assert policy_loss(x, Norm(1, 1), cfg).loss.item() == pytest.approx(value, rel=1e-12)
    assert gradient(x, Norm(1, 1), cfg) == pytest.approx([slope])


@pytest.mark.parametrize(
    ("norm", "settings", "message"),
    [
        (Norm(0, 1), {"cfg": DAPO}, "0 tokens"),
        (Norm(1, 0), {"cfg": DAPO}, "0 sequences"),
        (Norm(1, 1), {}, "'cfg' is missing"),
        (Norm(1, 1), {"cfg": {"clip_low": 0.2}}, "must be a PolicyLoss"),
        (Norm(1, 1), {"cfg": DAPO, "kl_beta": 0.1}, "unknown 'kl_beta'"),
    ],
)
def test_refusals(norm, settings, message):
    with pytest.raises(UserError, match=message):
        policy_loss(packed([[1.0]], [1.0]), norm, **settings)
