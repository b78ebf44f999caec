"""Any differentiable function of the log-probabilities trains as the same loss does by name."""

from dataclasses import replace

import pytest
import torch
from train import sequences
from train.reference import column

from tunesmith.core.errors import UserError
from tunesmith.core.types import PLAIN_SUM, Norm


def ours(name):
    """A named loss of the Training API, written by a user."""

    def loss(data, logprobs):
        total = torch.zeros(())
        for d, lp in zip(data, logprobs, strict=True):
            old, a, w = (torch.from_numpy(x) for x in (d.logprobs, d.advantages, d.weights))
            ratio = (lp - old).exp()
            terms = {
                "cross_entropy": -lp,
                "importance_sampling": -ratio * a,
                "ppo": -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a),
                "cispo": -ratio.detach().clamp(0.8, 1.2) * a * lp,
                "dro": 0.025 * (lp - old) ** 2 - lp * a,
            }
            total = total + (w * terms[name]).sum()
        return total, {"mine/sequences": float(len(data))}

    return loss


@pytest.mark.parametrize("name", ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"])
@pytest.mark.parametrize("rank", [0, 4])
def test_a_custom_loss_has_the_gradient_of_the_named_one(model_folder, name, rank):
    trainer, data = sequences.trainer(model_folder("qwen3"), rank), sequences.data()
    named, scored = trainer.forward_backward(data, name)
    expected = sequences.gradients(trainer)
    sequences.clear(trainer)
    custom, again = trainer.forward_backward_custom(data, ours(name))
    assert sequences.largest_difference(sequences.gradients(trainer), expected) < 1e-6
    assert custom["loss/custom"] == pytest.approx(named[f"loss/{name}"], rel=1e-5)
    assert custom["mine/sequences"] == len(data)
    for d, a, b in zip(data, scored, again, strict=True):
        assert a[d.weights != 0] == pytest.approx(b[d.weights != 0], abs=1e-6)


def test_a_custom_loss_over_pairs(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()

    def pairwise(data, logprobs):
        margins = [
            ((lp - torch.from_numpy(d.ref_logprobs)) * torch.from_numpy(d.weights)).sum()
            for d, lp in zip(data, logprobs, strict=True)
        ]
        better, worse = torch.stack(margins[::2]), torch.stack(margins[1::2])
        return -torch.nn.functional.logsigmoid(0.1 * (better - worse)).sum(), {}

    trainer.forward_backward(data, "dpo", norm=PLAIN_SUM)
    expected = sequences.gradients(trainer)
    sequences.clear(trainer)
    trainer.forward_backward_custom(data, pairwise)
    assert sequences.largest_difference(sequences.gradients(trainer), expected) < 1e-6


def test_gradients_at_prompt_tokens_count_too(model_folder):
    """A custom loss sees every token, whatever its weight."""
    trainer = sequences.trainer(model_folder("qwen3"))
    data = sequences.data()
    trainer.forward_backward_custom(data, lambda data, lps: (-sum(lp.sum() for lp in lps), {}))
    found = sequences.gradients(trainer)
    sequences.clear(trainer)
    everywhere = [replace(d, weights=d.weights * 0 + 1) for d in data]
    trainer.forward_backward(everywhere, "cross_entropy")
    assert sequences.largest_difference(found, sequences.gradients(trainer)) < 1e-6


def test_a_datum_that_the_loss_leaves_out_gets_no_gradient(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    trainer.forward_backward_custom(data, lambda data, lps: (-lps[2].sum(), {}))
    found = sequences.gradients(trainer)
    sequences.clear(trainer)
    trainer.forward_backward_custom(data[2:3], lambda data, lps: (-lps[0].sum(), {}))
    assert sequences.largest_difference(found, sequences.gradients(trainer)) < 1e-6


@pytest.mark.parametrize("value", [1.5, torch.zeros(()), torch.zeros(2, requires_grad=True)])
def test_what_is_no_differentiable_scalar_is_refused(model_folder, value):
    trainer = sequences.trainer(model_folder("qwen3"))
    with pytest.raises(UserError, match="custom loss: did not return a differentiable scalar"):
        trainer.forward_backward_custom(sequences.data(), lambda data, lps: (value, {}))
    assert all(t.grad is None for t in trainer.parameters.values())


def test_a_custom_loss_that_gives_nan_is_refused(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"))
    with pytest.raises(UserError, match="not finite"):
        trainer.forward_backward_custom(sequences.data(), lambda data, lps: (lps[0].sum() * float("nan"), {}))
    assert all(t.grad is None for t in trainer.parameters.values())


def test_columns_of_the_data_reach_the_loss(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    seen = []

    def loss(given, lps):
        seen.extend(given)
        return -sum(
            (lp[torch.from_numpy(d.weights != 0)] * column(d, "advantages")).sum()
            for d, lp in zip(given, lps, strict=True)
        ), {}

    trainer.forward_backward_custom(data, loss)
    assert all(a is b for a, b in zip(seen, data, strict=True))
    assert Norm(1, 1) == PLAIN_SUM
