"""Updates: AdamW by hand in float64, accumulation, clipping."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from train import sequences

from tunesmith.core.types import AdamParams, Norm

SETTINGS = [
    AdamParams(1e-2),
    AdamParams(3e-3, beta1=0.5, beta2=0.7, eps=1e-3, weight_decay=0.3, grad_clip=0.05),
    AdamParams(1e-2, beta1=0.0, beta2=0.999, eps=1e-8, weight_decay=0.0, grad_clip=0.0),
]


class AdamW:
    """1711.05101 as its pseudo-code has it, one number at a time of one flat float64 array."""

    def __init__(self, start):
        self.w, self.m, self.v, self.t = start.astype(np.float64), 0.0, 0.0, 0

    def step(self, g, p):
        norm = math.sqrt(float((g**2).sum()))
        if p.grad_clip and norm > p.grad_clip:
            g = g * (p.grad_clip / (norm + 1e-6))
        self.t += 1
        self.m = p.beta1 * self.m + (1 - p.beta1) * g
        self.v = p.beta2 * self.v + (1 - p.beta2) * g**2
        m, v = self.m / (1 - p.beta1**self.t), self.v / (1 - p.beta2**self.t)
        self.w = self.w - p.learning_rate * p.weight_decay * self.w - p.learning_rate * m / (np.sqrt(v) + p.eps)
        return norm


def flat(tensors):
    return torch.cat([t.detach().double().flatten() for t in tensors.values()]).numpy()


@pytest.mark.parametrize("params", SETTINGS)
@pytest.mark.parametrize("rank", [4, 0])
def test_five_updates_by_hand(model_folder, params, rank):
    trainer = sequences.trainer(model_folder("qwen3"), rank)
    by_hand = AdamW(flat(trainer.parameters))
    for step in range(5):
        rate = params.learning_rate * (1 - step / 10)
        trainer.forward_backward(sequences.data(seed=step), "cross_entropy", norm=Norm(30, 6))
        norm = by_hand.step(flat(sequences.gradients(trainer)), replace(params, learning_rate=rate))
        metrics = trainer.optim_step(replace(params, learning_rate=rate))
        assert metrics == {"optim/grad_norm": pytest.approx(norm, rel=1e-5), "optim/learning_rate": rate}
        assert np.abs(flat(trainer.parameters) - by_hand.w).max() < 2e-6
        assert trainer.version == step + 1


def test_gradients_of_several_calls_add_up_and_are_cleared(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    parts = []
    for d in data:
        trainer.forward_backward([d], "cross_entropy")
        parts.append(sequences.gradients(trainer))
        sequences.clear(trainer)
    for d in data:
        trainer.forward_backward([d], "cross_entropy")
    total = {n: sum(p[n] for p in parts) for n in parts[0]}
    assert sequences.largest_difference(sequences.gradients(trainer), total) < 1e-6
    trainer.optim_step(AdamParams(1e-3))
    assert all(t.grad is None for t in trainer.parameters.values())


def test_the_accumulated_gradient_is_clipped_and_not_its_parts(model_folder):
    """Two opposite halves: each is far above the bound, their sum is 0 but for one small datum."""
    data = sequences.data()
    opposite = [replace(d, weights=-d.weights) for d in data]
    small = replace(data[0], weights=data[0].weights * 1e-2)
    trainer = sequences.trainer(model_folder("qwen3"))
    trainer.forward_backward([small], "cross_entropy")
    alone = math.sqrt(sum(float(g.square().sum()) for g in sequences.gradients(trainer).values()))
    for part in ([*data], [*opposite]):
        trainer.forward_backward(part, "cross_entropy")
    assert trainer.optim_step(AdamParams(1e-3, grad_clip=2 * alone))["optim/grad_norm"] == pytest.approx(
        alone, rel=1e-2
    )


def test_the_reported_norm_is_before_clipping(model_folder):
    norms = []
    for clip in (0.0, 1e-3, 1e6):
        trainer = sequences.trainer(model_folder("qwen3"))
        trainer.forward_backward(sequences.data(), "cross_entropy")
        norms.append(trainer.optim_step(AdamParams(1e-3, grad_clip=clip))["optim/grad_norm"])
    assert norms[0] == norms[1] == norms[2] > 1


def test_the_optimizer_holds_exactly_the_trained_tensors(model_folder):
    for rank in (0, 4):
        trainer = sequences.trainer(model_folder("qwen3"), rank)
        trainer.forward_backward(sequences.data(), "cross_entropy")
        trainer.optim_step(AdamParams(1e-3))
        held = {key.rpartition(".")[0] for key in trainer.optimizer.state()}
        assert held == set(trainer.parameters)
        base = dict(trainer.policy.model.named_parameters())
        assert all(t.requires_grad == (rank == 0) for t in base.values())


def test_an_adapter_trains_and_its_base_does_not(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"))
    before = {n: t.detach().clone() for n, t in trainer.policy.model.named_parameters()}
    own = {n: t.detach().clone() for n, t in trainer.parameters.items()}
    trainer.forward_backward(sequences.data(), "cross_entropy")
    trainer.optim_step(AdamParams(1e-2))
    assert all(t.equal(before[n]) for n, t in trainer.policy.model.named_parameters())
    assert not any(t.equal(own[n]) for n, t in trainer.parameters.items())


@pytest.mark.parametrize("rank", [0, 4])
def test_likelihood_rises(model_folder, rank):
    trainer, data = sequences.trainer(model_folder("qwen3"), rank), sequences.data()
    tokens = sum(int((d.weights != 0).sum()) for d in data)
    losses = []
    for _ in range(8):
        losses.append(trainer.forward_backward(data, "cross_entropy", norm=Norm(tokens, 6))[0]["loss/cross_entropy"])
        trainer.optim_step(AdamParams(1e-2))
    assert losses[-1] < 0.8 * losses[0]
    assert losses == sorted(losses, reverse=True)
