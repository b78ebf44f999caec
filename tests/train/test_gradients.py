"""Gradients of every loss through the packed trainer, against plain autograd through ``transformers`` in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from train import reference, sequences

from tunesmith.core.types import PLAIN_SUM, Norm
from tunesmith.losses import LOSSES
from tunesmith.spec import METHODS

NORM = Norm(31.0, 6.0)
NAMED = {
    "grpo": ("policy", {"cfg": METHODS["grpo"]}),
    "dapo": ("policy", {"cfg": METHODS["dapo"]}),
    "gspo_token": ("policy", {"cfg": METHODS["gspo-token"]}),
    **{name: (name, {}) for name in LOSSES if name != "policy"},
}
FAMILIES = ["llama-tied", "mistral-window", "qwen2", "qwen3", "qwen3_moe-dense-layer"]


def near_the_policy(trainer, data):
    """The data as a sampler close to the policy would have it: ratios within +-0.3 of 1, some of them clipped."""
    noise = np.random.default_rng(5)
    out = []
    for d, lp in zip(data, trainer.forward(data), strict=True):
        shifts = [(noise.uniform(-0.3, 0.3, len(lp)) * (d.weights != 0)).astype(np.float32) for _ in range(2)]
        out.append(replace(d, logprobs=lp + shifts[0], ref_logprobs=lp + shifts[1]))
    return out


@pytest.mark.parametrize("name", NAMED)
def test_every_loss_on_an_adapter(model_folder, name):
    trainer = sequences.trainer(model_folder("qwen3-bias"), rank=4, head=True)
    data = near_the_policy(trainer, sequences.data())
    loss, settings = NAMED[name]
    metrics, _ = trainer.forward_backward(data, loss, settings, NORM)
    adapter = trainer.policy.adapter
    value, expected = reference.gradients(model_folder("qwen3-bias"), adapter, data, getattr(reference, name), NORM)
    assert metrics[f"loss/{loss}"] == pytest.approx(value, rel=1e-5, abs=1e-7)
    found = {n: g.double() for n, g in sequences.gradients(trainer).items()}
    assert sequences.largest_difference(found, expected) < 5e-6


@pytest.mark.parametrize(("family", "name"), [*((family, "cross_entropy") for family in FAMILIES), ("qwen3", "grpo")])
def test_all_weights_in_float64(model_folder, family, name):
    """Gradients that pass through the fused linears, experts, norms, biases and the tied head.

    The oracle is float64 but for its norms, which ``transformers`` always computes in float32.
    """
    trainer = sequences.trainer(model_folder(family), rank=0, dtype=torch.float64)
    data = near_the_policy(trainer, sequences.data())
    loss, settings = NAMED[name]
    trainer.forward_backward(data, loss, settings, NORM)
    _, expected = reference.gradients(model_folder(family), None, data, getattr(reference, name), NORM)
    found = reference.by_hugging_face_name(trainer.policy.model, sequences.gradients(trainer))
    assert sequences.largest_difference({n: found[n] for n in expected}, expected) < 1e-6
    assert all(not found[n].any() for n in found.keys() - expected.keys())


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_of_every_family(model_folder, family):
    trainer = sequences.trainer(model_folder(family), rank=2)
    data = sequences.data()
    trainer.forward_backward(data, "cross_entropy", norm=NORM)
    adapter = trainer.policy.adapter
    _, expected = reference.gradients(model_folder(family), adapter, data, reference.cross_entropy, NORM)
    found = {n: g.double() for n, g in sequences.gradients(trainer).items()}
    assert sequences.largest_difference(found, expected) < 5e-6


@pytest.mark.parametrize("family", ["qwen3-bias", "qwen3_moe-dense-layer"])
@pytest.mark.parametrize(
    "parts", [{"mlp": False}, {"attention": False}, {"attention": False, "mlp": False, "head": True}]
)
def test_adapters_of_a_part_of_the_model(model_folder, family, parts):
    trainer = sequences.trainer(model_folder(family), rank=2, **parts)
    data = sequences.data()
    trainer.forward_backward(data, "cross_entropy", norm=NORM)
    adapter = trainer.policy.adapter
    _, expected = reference.gradients(model_folder(family), adapter, data, reference.cross_entropy, NORM)
    found = {n: g.double() for n, g in sequences.gradients(trainer).items()}
    assert sequences.largest_difference(found, expected) < 5e-6


def test_negative_and_large_weights(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"), rank=2)
    scales = [-2.5, 1.0, 30.0, -0.125, 4.0, 0.5]
    data = [replace(d, weights=d.weights * s) for d, s in zip(sequences.data(), scales, strict=True)]
    metrics, _ = trainer.forward_backward(data, "cross_entropy")
    adapter = trainer.policy.adapter
    value, expected = reference.gradients(model_folder("qwen3"), adapter, data, reference.cross_entropy, PLAIN_SUM)
    assert metrics["loss/cross_entropy"] == pytest.approx(value, rel=1e-5)
    found = {n: g.double() for n, g in sequences.gradients(trainer).items()}
    assert sequences.largest_difference(found, expected) < 5e-6
