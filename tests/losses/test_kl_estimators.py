"""KL estimators against exact enumeration over a 6-way softmax: weighted by probabilities, a loss is an expectation."""

import pytest
import torch

from tunesmith.losses import LossInputs
from tunesmith.losses.base import Norm
from tunesmith.losses.policy import policy_loss
from tunesmith.spec.loss import PolicyLoss

LOGITS = torch.tensor([0.3, -1.2, 0.8, 2.0, -0.4, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([1.0, 0.2, -0.7, 0.4, 0.9, -1.5], dtype=torch.float64).log_softmax(0)
SAMPLER = torch.tensor([0.2, 0.4, 0.1, 0.9, -0.3, 0.6], dtype=torch.float64).log_softmax(0)


def expectation(logits, sampler, estimator):
    """E over x ~ sampler of the estimator's loss at x, with beta 1 and no advantage."""
    x = LossInputs(
        logprobs=logits.log_softmax(0),
        weights=sampler.exp().detach(),
        segment=torch.zeros(6, dtype=torch.int64),
        num_sequences=1,
        old_logprobs=sampler.detach(),
        ref_logprobs=REFERENCE,
        advantages=torch.zeros(6, dtype=torch.float64),
    )
    return policy_loss(x, Norm(1, 1), PolicyLoss(kl_coef=1.0, kl_estimator=estimator)).loss


def reverse_kl(logits):
    """KL(p || ref)"""
    p = logits.log_softmax(0)
    return (p.exp() * (p - REFERENCE)).sum()


def forward_kl(logits):
    """KL(ref || p)"""
    p = logits.log_softmax(0)
    return (REFERENCE.exp() * (REFERENCE - p)).sum()


def value_and_gradient(f):
    logits = LOGITS.clone().requires_grad_()
    value = f(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.item(), gradient.tolist()


@pytest.mark.parametrize(
    ("estimator", "exact_value", "gradient_of"),
    [("k3", True, forward_kl), ("k2", False, reverse_kl), ("k3_unbiased", True, reverse_kl)],
)
def test_on_policy(estimator, exact_value, gradient_of):
    value, gradient = value_and_gradient(lambda logits: expectation(logits, LOGITS.log_softmax(0), estimator))
    kl, _ = value_and_gradient(reverse_kl)
    _, expected = value_and_gradient(gradient_of)
    assert gradient == pytest.approx(expected, abs=1e-12)
    assert (value == pytest.approx(kl, abs=1e-12)) is exact_value


def test_k3_unbiased_is_exact_off_policy_too():
    value, gradient = value_and_gradient(lambda logits: expectation(logits, SAMPLER, "k3_unbiased"))
    kl, expected = value_and_gradient(reverse_kl)
    assert value == pytest.approx(kl, abs=1e-12)
    assert gradient == pytest.approx(expected, abs=1e-12)
