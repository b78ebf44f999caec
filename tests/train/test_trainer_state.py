"""Saved and continued to the bit; snapshots that later updates do not touch; the weights at job start."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import tiny
from train import sequences

from tunesmith.core.errors import UserError
from tunesmith.core.types import AdamParams, Norm
from tunesmith.models.folder import load_model
from tunesmith.models.lora import Adapter, factors
from tunesmith.models.peft_format import load_adapter
from tunesmith.train.policy import LiveWeights

ADAM = AdamParams(1e-2)
NORM = Norm(30, 6)


def train(trainer, seeds):
    norms = []
    for seed in seeds:
        trainer.forward_backward(sequences.data(seed=seed), "cross_entropy", norm=NORM)
        norms.append(trainer.optim_step(ADAM)["optim/grad_norm"])
    return norms


def bits(trainer):
    return {n: t.detach().numpy().tobytes() for n, t in trainer.parameters.items()}


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
@pytest.mark.parametrize("rank", [4, 0])
def test_a_continued_trainer_ends_with_the_same_bits(model_folder, tmp_path, family, rank):
    straight = sequences.trainer(model_folder(family), rank)
    expected = train(straight, range(5))
    first = sequences.trainer(model_folder(family), rank)
    train(first, range(2))
    first.save_state(tmp_path / "state")
    second = sequences.trainer(model_folder(family), rank)
    second.load_state(tmp_path / "state")
    assert second.version == 2
    assert bits(second) == bits(first)
    assert train(second, range(2, 5)) == expected[2:]
    assert bits(second) == bits(straight)
    assert second.version == straight.version == 5


def test_saving_changes_nothing(model_folder, tmp_path):
    straight, saving = (sequences.trainer(model_folder("qwen3")) for _ in range(2))
    train(straight, range(3))
    for step in range(3):
        saving.save_state(tmp_path / str(step))
        saving.save_weights_for_sampler("x")
        saving.weight_change()
        train(saving, [step])
    assert bits(saving) == bits(straight)


def test_a_state_before_the_first_update(model_folder, tmp_path):
    straight = sequences.trainer(model_folder("qwen3"))
    straight.save_state(tmp_path / "state")
    other = sequences.trainer(model_folder("qwen3"))
    train(other, [7])
    other.load_state(tmp_path / "state")
    train(straight, range(2))
    train(other, range(2))
    assert bits(other) == bits(straight)


@pytest.mark.parametrize(("rank", "head"), [(2, False), (0, False)])
def test_another_jobs_state_is_refused(model_folder, tmp_path, rank, head):
    sequences.trainer(model_folder("qwen3"), 4).save_state(tmp_path / "state")
    other = sequences.trainer(model_folder("qwen3"), rank, head=head)
    before = bits(other)
    with pytest.raises(UserError, match="holds other weights than this job trains"):
        other.load_state(tmp_path / "state")
    assert bits(other) == before


def test_a_snapshot_is_not_touched_by_later_updates(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"))
    weights = trainer.save_weights_for_sampler("one")
    model, tokens = trainer.policy.model, tiny.random_tokens()
    before = tiny.logits(model, tokens, weights.payload)
    train(trainer, range(2))
    assert isinstance(weights.payload, Adapter)
    assert (weights.name, weights.version, trainer.version) == ("one", 0, 2)
    assert tiny.logits(model, tokens, weights.payload).equal(before)
    after = trainer.save_weights_for_sampler("two")
    assert after.version == 2
    assert not tiny.logits(model, tokens, after.payload).equal(before)


def test_a_snapshot_serves_what_is_trained(model_folder):
    """The factors of a snapshot are laid out anew; the numbers are the same to the bit."""
    for head in (False, True):
        trainer = sequences.trainer(model_folder("qwen3-bias"), head=head)
        snapshot, tokens = trainer.save_weights_for_sampler("x").payload, tiny.random_tokens()
        own = tiny.logits(trainer.policy.model, tokens, trainer.policy.adapter)
        assert tiny.logits(trainer.policy.model, tokens, snapshot).equal(own)


def test_all_weights_are_served_without_a_copy(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"), 0)
    payload = trainer.save_weights_for_sampler("x").payload
    assert isinstance(payload, LiveWeights)
    assert payload.model is trainer.policy.model


def reference_logprobs(folder, data, adapter=None):
    """Of the model on disk, with an adapter that no training has touched."""
    model = load_model(folder, tiny.CPU, torch.float32)
    out = []
    for d in data:
        logits = tiny.logits(model, torch.from_numpy(d.tokens).long(), adapter)
        log_softmax = (logits / d.temperature).log_softmax(-1).numpy()
        out.append(np.where(d.weights != 0, log_softmax[np.arange(len(d.targets)), d.targets], 0))
    return out


@pytest.mark.parametrize("case", ["adapter", "warm start", "all weights"])
def test_the_reference_is_where_the_job_began(model_folder, case):
    folder, data = model_folder("qwen3"), sequences.data()
    rank = 0 if case == "all weights" else 4
    trainer = sequences.trainer(folder, rank, warm=case == "warm start", reference=True)
    start = trainer.policy.adapter.snapshot() if case == "warm start" else None
    expected = reference_logprobs(folder, data, start)
    before = trainer.forward(data, reference=True)
    train(trainer, range(3))
    after = trainer.forward(data, reference=True)
    for a, b, e in zip(after, before, expected, strict=True):
        assert a.tobytes() == b.tobytes()
        assert a == pytest.approx(e, abs=1e-5)
    own = trainer.forward(data)
    assert max(np.abs(a - b).max() for a, b in zip(own, after, strict=True)) > 1e-3


def test_weight_change_is_the_distance_from_the_base(model_folder):
    folder = model_folder("qwen3")
    for rank in (4, 0):
        trainer = sequences.trainer(folder, rank)
        train(trainer, range(2))
        base = load_model(folder, tiny.CPU, torch.float32)
        if rank:
            total = 0.0
            adapter = trainer.policy.adapter
            for name, pair in adapter.pairs.items():
                for a, b, scale in factors(pair, adapter.targets[name]):
                    total += float((scale * b.detach().double() @ a.detach().double()).square().sum())
        else:
            pairs = zip(trainer.policy.model.parameters(), base.parameters(), strict=True)
            total = sum(float((a.detach().double() - b.double()).square().sum()) for a, b in pairs)
        assert trainer.weight_change() == pytest.approx(total**0.5, rel=1e-5)


@pytest.mark.parametrize("rank", [4, 0])
def test_what_is_exported_is_what_was_trained(model_folder, tmp_path, rank):
    trainer = sequences.trainer(model_folder("qwen3"), rank)
    train(trainer, range(2))
    trainer.export(tmp_path / "out")
    tokens = tiny.random_tokens()
    base = load_model(model_folder("qwen3") if rank else tmp_path / "out", tiny.CPU, torch.float32)
    adapter = load_adapter(tmp_path / "out", base) if rank else None
    own = tiny.logits(trainer.policy.model, tokens, trainer.policy.adapter)
    assert tiny.logits(base, tokens, adapter).equal(own)


def test_settings_of_data_do_not_leak_between_calls(model_folder):
    """Two trainers on one folder, and two calls on one trainer, know nothing of each other."""
    a, b = (sequences.trainer(model_folder("qwen3")) for _ in range(2))
    train(a, range(2))
    hot = [replace(d, temperature=2.0) for d in sequences.data()]
    fresh = sequences.trainer(model_folder("qwen3")).forward(hot)
    b.forward(sequences.data())
    assert all(x.tobytes() == y.tobytes() for x, y in zip(b.forward(hot), fresh, strict=True))
