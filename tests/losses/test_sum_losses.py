"""The plain sums of the Training API: values and gradients worked by hand."""

import math
from dataclasses import replace

import pytest
import torch
from losses.packed import packed

from tunesmith.core.errors import UserError
from tunesmith.core.types import PLAIN_SUM, Norm
from tunesmith.losses import loss_named

LN2 = math.log(2)


def batch(ratios, advantages, weights=None):
    """One sequence; ln p = ln ratio - 1, ln q = -1."""
    x = packed([ratios], [0.0])
    weights = weights or [1.0] * len(ratios)
    return replace(
        x,
        advantages=torch.tensor(advantages, dtype=torch.float64),
        weights=torch.tensor(weights, dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ("name", "settings", "ratios", "advantages", "weights", "value", "gradient"),
    [
        # - (2 * (-1) - 0.5 * (ln 2 - 1)) = 2 + 0.5 ln 2 - 0.5; the gradient is -w, the sign of w included
        ("cross_entropy", {}, [1.0, 2.0], [0.0, 0.0], [2.0, -0.5], 1.5 + LN2 / 2, [-2.0, 0.5]),
        # - (1 * 2 * 1 + 3 * 0.5 * (-2)) = 1; gradient -w r A
        ("importance_sampling", {}, [2.0, 0.5], [1.0, -2.0], [1.0, 3.0], 1.0, [-2.0, 3.0]),
        # A = 1: 1.5 is cut to 1.2, 0.5 stays; A = -1: 0.5 is cut to 0.8, 1.5 stays: -(1.2 + 0.5 - 0.8 - 1.5)
        ("ppo", {}, [1.5, 0.5, 0.5, 1.5], [1, 1, -1, -1], None, 0.6, [0.0, -0.5, 0.0, 1.5]),
        # thresholds are absolute: [0.4, 3] leaves all four open: -(1.5 + 0.5 - 0.5 - 1.5)
        (
            "ppo",
            {"clip_low_threshold": 0.4, "clip_high_threshold": 3},
            [1.5, 0.5, 0.5, 1.5],
            [1, 1, -1, -1],
            None,
            0.0,
            [-1.5, -0.5, 0.5, 1.5],
        ),
        # clipped tokens keep a gradient: -(1.2 (ln 2 - 1) * 1 + 0.8 (-ln 2 - 1) * (-2)) = -0.4 - 2.8 ln 2
        ("cispo", {}, [2.0, 0.5], [1.0, -2.0], None, -0.4 - 2.8 * LN2, [-1.2, 1.6]),
        # -(2 (ln 2 - 1)), the ratio open and still without a gradient of its own: -2
        ("cispo", {"clip_high_threshold": 5.0}, [2.0], [1.0], None, 2 - 2 * LN2, [-2.0]),
        # the geometric mean of 4 and 1/4 is 1: -(1 * 1 + 1 * (-2)), each token its own advantage
        ("gspo", {}, [4.0, 0.25], [1.0, -2.0], None, 1.0, [-1.0, 2.0]),
        # of 4, 1 and a token without weight, which is not seen, it is 2, cut to 1.2 where A > 0: -(2 * 1.2 - 2)
        ("gspo", {}, [4.0, 1.0, 100.0], [1.0, -1.0, 1.0], [2.0, 1.0, 0.0], -0.4, [0.0, 2.0, 0.0]),
        # 2 is inside [0.5, 3]: -(2 * 2 * 1 - 0.5 * 2 * 3), the sign of w included
        (
            "gspo",
            {"clip_low_threshold": 0.5, "clip_high_threshold": 3.0},
            [4.0, 1.0],
            [1.0, 3.0],
            [2.0, -0.5],
            -1.0,
            [-4.0, 3.0],
        ),
        # d = ln 2: -((ln 2 - 1) * 3 - 0.05/2 d^2), gradient -(3 - 0.05 d)
        ("dro", {}, [2.0], [3.0], None, 3 - 3 * LN2 + 0.025 * LN2**2, [-3 + 0.05 * LN2]),
        # the square is there where A is 0 too, but not where the weight is: beta/2 d^2, gradient beta d
        ("dro", {"beta": 2.0}, [2.0, 2.0], [0.0, 0.0], [1.0, 0.0], LN2**2, [2 * LN2, 0.0]),
    ],
)
def test_golden(name, settings, ratios, advantages, weights, value, gradient):
    x = batch(ratios, advantages, weights)
    out = loss_named(name)(x, PLAIN_SUM, **settings)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(value, abs=1e-12)
    assert x.logprobs.grad.tolist() == pytest.approx(gradient, abs=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo"])
def test_only_the_token_norm_divides(name):
    x = batch([1.5, 0.5], [1.0, -2.0])
    plain, divided = (loss_named(name)(x, norm).loss.item() for norm in (PLAIN_SUM, Norm(4, 7)))
    assert plain != 0
    assert divided == pytest.approx(plain / 4)


def test_negative_weights_carry_any_custom_gradient():
    # C = (sum lp)^2, sent as weights -dC/dlp to cross_entropy: the gradient that comes back is dC/dlp = 2 sum lp
    x = batch([1.0, 2.0, 0.5], [0.0, 0.0, 0.0])
    lp = x.logprobs.detach().requires_grad_()
    (wanted,) = torch.autograd.grad(lp.sum() ** 2, lp)
    loss_named("cross_entropy")(replace(x, weights=-wanted), PLAIN_SUM).loss.backward()
    assert wanted.tolist() == pytest.approx([-6.0] * 3)
    assert x.logprobs.grad.tolist() == pytest.approx([-6.0] * 3)


def test_each_token_has_its_own_thresholds():
    # r = 1.5 and A = 1: cut to 1.1, to the setting's 1.2, not at all; NaN is a token without its own
    x = batch([1.5, 1.5, 1.5], [1.0, 1.0, 1.0])
    high = torch.tensor([1.1, math.nan, 2.0], dtype=torch.float64)
    loss = loss_named("ppo")(replace(x, clip_high=high), PLAIN_SUM).loss
    loss.backward()
    assert loss.item() == pytest.approx(-(1.1 + 1.2 + 1.5))
    assert x.logprobs.grad.tolist() == pytest.approx([0.0, 0.0, -1.5])


def test_masked_tokens_make_the_ratio_whatever_their_weight():
    # s over the tokens of 4 and 1: 2; the one of 100 is weighed and not seen: -(1 + 1) * 2
    x = batch([4.0, 100.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    mask = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    settings = {"clip_high_threshold": 50.0}
    loss = loss_named("gspo")(replace(x, ratio_mask=mask), PLAIN_SUM, **settings).loss
    loss.backward()
    assert loss.item() == pytest.approx(-4.0)
    assert x.logprobs.grad.tolist() == pytest.approx([-2.0, -2.0, 0.0])
    # no token is masked: s = 0, and every ratio is 1
    assert loss_named("gspo")(replace(x, ratio_mask=mask * 0), PLAIN_SUM).loss.item() == pytest.approx(-2.0)


@pytest.mark.parametrize("name", ["importance_sampling", "ppo", "cispo"])
def test_log_ratios_are_held_within_20(name):
    x = batch([1.0], [1.0])
    x = replace(x, logprobs=(x.old_logprobs + 500).requires_grad_())
    settings = {} if name == "importance_sampling" else {"clip_high_threshold": 1e12}
    loss = loss_named(name)(x, PLAIN_SUM, **settings).loss
    loss.backward()
    # cispo: -sg(e^20) lp with lp = 499; the others: -e^20, flat
    expected, slope = (-math.exp(20) * 499, -math.exp(20)) if name == "cispo" else (-math.exp(20), 0.0)
    assert loss.item() == pytest.approx(expected)
    assert x.logprobs.grad.tolist() == pytest.approx([slope])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ppo", {"clip_low": 0.8}, "unknown 'clip_low'. .*Known: clip_high_threshold, clip_low_threshold"),
        ("cross_entropy", {"beta": 0.1}, "takes no settings"),
        ("ppo", {"clip_low_threshold": 1.3}, "no range of ratios"),
        ("cispo", {"clip_low_threshold": -0.1}, "no range of ratios"),
        ("gspo", {"clip_high_threshold": 0.7}, "loss gspo: .*0.8 to .*0.7 is no range of ratios"),
        ("dro", {"beta": -1.0}, "must not be negative"),
        ("dro", {"beta": float("nan")}, "finite number"),
        ("dro", {"beta": "0.05"}, "finite number .got '0.05'."),
        ("dro", {"beta": True}, "finite number"),
        ("dpo", {"beta": 0.0}, "must be above 0"),
        ("orpo", {"orpo_lambda": -0.1}, "must not be negative"),
    ],
)
def test_refusals(name, settings, message):
    with pytest.raises(UserError, match=message):
        loss_named(name)(batch([1.0, 1.0], [1.0, 1.0]), PLAIN_SUM, **settings)


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown 'cros_entropy'.*Did you mean 'cross_entropy'.*Known: cispo, "):
        loss_named("cros_entropy")
