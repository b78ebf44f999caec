"""What must hold for every method and every loss: split, packing order and masked tokens change nothing.

Parametrised over the tables, so that a new row is tested the day it is written.
"""

import pytest
import torch
from losses.packed import random_batch, sequences_of, with_junk

from tunesmith.core.types import Norm
from tunesmith.losses import LOSSES, NEEDS, loss_named, needs, sequences_together
from tunesmith.spec.loss import METHODS, PolicyLoss

VARIANTS = {
    "sequence ratio, token mean": PolicyLoss(ratio="sequence", clip_low=0.1, clip_high=0.1),
    "sequence ratio, wide": METHODS["gspo-token"].model_copy(update={"clip_low": 0.9, "clip_high": 9.0}),
    "k2": PolicyLoss(kl_coef=0.1, kl_estimator="k2"),
    "k3_unbiased, sequence mean": PolicyLoss(kl_coef=0.1, kl_estimator="k3_unbiased", aggregate="sequence-mean"),
}
POLICIES = {**METHODS, **VARIANTS}
CASES = [
    *(pytest.param("policy", {"cfg": cfg}, id=name) for name, cfg in POLICIES.items()),
    *(pytest.param(name, {}, id=name) for name in LOSSES if name != "policy"),
]
NORM = Norm(17, 6)
every_loss = pytest.mark.parametrize(("name", "settings"), CASES)


def batch():
    return random_batch([5, 1, 4, 3, 2, 6])


def step(x, name, settings):
    """loss, [N] gradient, metrics"""
    out = loss_named(name)(x, NORM, **settings)
    (gradient,) = torch.autograd.grad(out.loss, x.logprobs)
    return out.loss.item(), gradient, {k: v.item() for k, v in out.metrics.items()}


@every_loss
def test_any_split_into_microbatches_gives_the_same_step(name, settings):
    loss, gradient, metrics = step(batch(), name, settings)
    size = sequences_together(name)
    for cut in range(size, 6, size):
        first = step(sequences_of(batch(), list(range(cut))), name, settings)
        second = step(sequences_of(batch(), list(range(cut, 6))), name, settings)
        assert first[0] + second[0] == pytest.approx(loss, abs=1e-12)
        torch.testing.assert_close(torch.cat([first[1], second[1]]), gradient, rtol=0, atol=1e-12)
        assert {k: first[2][k] + second[2][k] for k in metrics} == pytest.approx(metrics, abs=1e-12)


@every_loss
def test_the_order_of_packing_does_not_matter(name, settings):
    order = [4, 5, 0, 1, 2, 3] if sequences_together(name) == 2 else [3, 0, 5, 1, 4, 2]
    x = batch()
    loss, gradient, metrics = step(x, name, settings)
    other_loss, other_gradient, other_metrics = step(sequences_of(x, order), name, settings)
    assert other_loss == pytest.approx(loss, abs=1e-12)
    assert other_metrics == pytest.approx(metrics, abs=1e-12)
    moved = torch.cat([gradient[x.segment == i] for i in order])
    torch.testing.assert_close(other_gradient, moved, rtol=0, atol=1e-12)


@every_loss
@pytest.mark.parametrize("position", [0, 3, 5, 20])
def test_a_masked_token_changes_nothing(name, settings, position):
    loss, gradient, metrics = step(batch(), name, settings)
    other_loss, other_gradient, other_metrics = step(with_junk(batch(), position), name, settings)
    assert other_loss == pytest.approx(loss, abs=1e-12)
    assert other_metrics == pytest.approx(metrics, abs=1e-12)
    assert other_gradient[position] == 0
    rest = torch.cat([other_gradient[:position], other_gradient[position + 1 :]])
    torch.testing.assert_close(rest, gradient, rtol=0, atol=1e-12)


@every_loss
def test_float32_agrees_with_float64(name, settings):
    x = batch()
    single = {c: getattr(x, c).detach().float() for c in ("logprobs", "weights", "old_logprobs", "ref_logprobs")}
    single["logprobs"].requires_grad_()
    y = type(x)(segment=x.segment, num_sequences=6, advantages=x.advantages.float(), **single)
    loss, gradient, _ = step(x, name, settings)
    other_loss, other_gradient, _ = step(y, name, settings)
    assert other_gradient.dtype == torch.float32
    assert other_loss == pytest.approx(loss, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(other_gradient.double(), gradient, rtol=1e-4, atol=1e-6)


@every_loss
def test_needs_names_exactly_the_columns_a_loss_reads(name, settings):
    def reads(column):
        x = batch()
        columns = {c: getattr(x, c) for c in ("old_logprobs", "ref_logprobs", "advantages") if c != column}
        without = type(x)(x.logprobs, x.weights, x.segment, 6, **columns)
        try:
            loss_named(name)(without, NORM, **settings)
        except AssertionError as e:
            return "needs" in str(e)
        return False

    assert {c for c in ("old_logprobs", "ref_logprobs", "advantages") if reads(c)} == needs(name, settings)


@every_loss
def test_numbers_are_finite_however_far_apart(name, settings):
    for far in (-80.0, 80.0):
        x = batch()
        columns = {"old_logprobs": x.old_logprobs + far, "ref_logprobs": x.ref_logprobs - far}
        y = type(x)(x.logprobs, x.weights, x.segment, 6, advantages=x.advantages, **columns)
        loss, gradient, _ = step(y, name, settings)
        assert torch.isfinite(torch.tensor(loss)) and torch.isfinite(gradient).all()


def test_the_table_of_needs_knows_every_name_it_holds():
    assert set(NEEDS) <= set(LOSSES)
