"""DPO and ORPO: values and gradients worked by hand."""

import math
from dataclasses import replace

import pytest
import torch

from tunesmith.core.errors import UserError
from tunesmith.core.types import Norm
from tunesmith.losses import LossInputs
from tunesmith.losses.preference import dpo, orpo

LN2, LN3 = math.log(2), math.log(3)


def answers(*logprobs, ref=None):
    """One sequence per list of log-probabilities; the reference is the policy unless given."""
    flat = torch.tensor([lp for answer in logprobs for lp in answer], dtype=torch.float64)
    lengths = torch.tensor([len(answer) for answer in logprobs])
    return LossInputs(
        logprobs=flat.clone().requires_grad_(),
        weights=torch.ones_like(flat),
        segment=torch.repeat_interleave(torch.arange(len(logprobs)), lengths),
        num_sequences=len(logprobs),
        ref_logprobs=flat if ref is None else torch.tensor(ref, dtype=torch.float64),
    )


def found(x, norm, loss, **settings):
    out = loss(x, norm, **settings)
    out.loss.backward()
    return out.loss.item(), x.logprobs.grad.tolist(), {k.split("/")[1]: v.item() for k, v in out.metrics.items()}


def test_first_dpo_loss_is_ln_2():
    # m = 0: -ln sigma(0) = ln 2; gradient -+ beta (1 - sigma(0)) = 0.05, per token whatever the length
    loss, gradient, metrics = found(answers([-0.3, -0.7], [-5.1]), Norm(3, 1), dpo)
    assert loss == pytest.approx(LN2, abs=1e-15)
    assert gradient == pytest.approx([-0.05, -0.05, 0.05])
    assert metrics == pytest.approx({"accuracy": 0, "margin": 0, "chosen_logprob": -1, "rejected_logprob": -5.1})


def test_golden_dpo():
    # pair 1: m = ln 3 - 0; at beta 1 sigma(ln 3) = 3/4. pair 2: m = -ln 3, sigma = 1/4. Mean of -ln sigma:
    x = answers([LN3 - 2], [-1.0], [-1.0], [LN3 - 2], ref=[-2.0, -1.0, -1.0, -2.0])
    loss, gradient, metrics = found(x, Norm(4, 2), dpo, beta=1.0)
    assert loss == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)
    # -(1/2)(1 - sigma), opposite for the worse answer
    assert gradient == pytest.approx([-1 / 8, 1 / 8, -3 / 8, 3 / 8])
    assert metrics["accuracy"] == pytest.approx(0.5)
    assert metrics["margin"] == pytest.approx(0, abs=1e-12)


def test_dpo_sums_weighted_tokens_alone():
    x = answers([-1.0, -9.0], [-1.0, -4.0], ref=[-1.5, 0.0, -1.0, 0.0])
    x = replace(x, weights=torch.tensor([1, 0, 1, 0], dtype=torch.float64))
    loss, gradient, metrics = found(x, Norm(2, 1), dpo, beta=0.4)
    # m = 0.5: -ln sigma(0.2), gradient -+ 0.4 (1 - sigma(0.2))
    slope = 0.4 / (1 + math.exp(0.2))
    assert loss == pytest.approx(math.log(1 + math.exp(-0.2)))
    assert gradient == pytest.approx([-slope, 0, slope, 0])
    assert metrics == pytest.approx({"accuracy": 1, "margin": 0.5, "chosen_logprob": -1, "rejected_logprob": -1})


def test_golden_orpo():
    # mean probabilities 1/2 (two tokens of ln 1/2) and 1/4: odds 1 and 1/3, m = ln 3, sigma(m) = 3/4
    # loss = ln 2 + 0.5 ln(4/3)
    loss, gradient, metrics = found(answers([-LN2, -LN2], [-2 * LN2]), Norm(3, 1), orpo, orpo_lambda=0.5)
    assert loss == pytest.approx(LN2 + 0.5 * math.log(4 / 3))
    # dm/da = 1 / (1 - p): better -1/2 (1 + 0.5 * 1/4 * 2) per token, worse 0.5 * 1/4 * 4/3
    assert gradient == pytest.approx([-0.625, -0.625, 1 / 6])
    expected = {"accuracy": 1, "margin": LN3, "chosen_logprob": -LN2, "rejected_logprob": -2 * LN2}
    assert metrics == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_answer_has_odds_of_20_and_no_nan(dtype):
    # ln p = 0 would be odds of infinity; m = 20 - 20 = 0
    x = answers([0.0], [0.0])
    x = replace(x, logprobs=x.logprobs.detach().to(dtype).requires_grad_(), weights=x.weights.to(dtype))
    loss, gradient, metrics = found(x, Norm(2, 1), orpo)
    assert loss == pytest.approx(0.1 * LN2, rel=1e-6)
    assert gradient == pytest.approx([-1.0, 0.0])
    assert metrics["margin"] == 0


@pytest.mark.parametrize("loss", [dpo, orpo])
def test_an_answer_without_its_pair_is_refused(loss):
    with pytest.raises(UserError, match="3 sequences do not make pairs"):
        loss(answers([-1.0], [-2.0], [-3.0]), Norm(3, 1.5))
