"""A state saved between passes and update goes on as if nothing had been saved; its weights alone start afresh."""

import numpy as np
import pytest
import torch
from train import sequences

from tunesmith.core.types import AdamParams, Norm
from tunesmith.services import checkpoints
from tunesmith.services.run_folder import RunFolder

ADAM = AdamParams(1e-2)
NORM = Norm(30, 6)
CASES = [("qwen3-bias", 4), ("qwen3-bias", 0), ("qwen2", 0), ("qwen3_moe", 4), ("qwen3_moe", 0)]


def one_pass(trainer, seed):
    trainer.forward_backward(sequences.data(seed=seed), "cross_entropy", norm=NORM)


def bits(trainer):
    return {n: t.detach().numpy().tobytes() for n, t in trainer.parameters.items()}


@pytest.mark.parametrize(("family", "rank"), CASES)
@pytest.mark.parametrize("updates", [0, 2])
def test_the_gradient_so_far_is_part_of_a_state(model_folder, tmp_path, family, rank, updates):
    straight = sequences.trainer(model_folder(family), rank)
    for seed in range(updates):
        one_pass(straight, seed)
        straight.optim_step(ADAM)
    one_pass(straight, 7)
    straight.save_state(tmp_path / "state")
    gradient = sequences.gradients(straight)
    other = sequences.trainer(model_folder(family), rank)
    one_pass(other, 3)
    other.load_state(tmp_path / "state")
    assert all(torch.equal(g, gradient[n]) for n, g in sequences.gradients(other).items())
    for trainer in (straight, other):
        one_pass(trainer, 8)
    assert straight.optim_step(ADAM) == other.optim_step(ADAM)
    assert bits(straight) == bits(other)
    assert straight.version == other.version == updates + 1


def test_a_state_without_a_gradient_clears_that_of_who_loads_it(model_folder, tmp_path):
    trainer = sequences.trainer(model_folder("qwen3"))
    one_pass(trainer, 0)
    trainer.save_state(tmp_path / "state")
    assert (tmp_path / "state" / "gradients.safetensors").is_file()
    trainer.optim_step(ADAM)
    trainer.save_state(tmp_path / "state")
    assert not (tmp_path / "state" / "gradients.safetensors").exists()
    one_pass(trainer, 1)
    trainer.load_state(tmp_path / "state")
    assert all(t.grad is None for t in trainer.parameters.values())
    assert trainer.version == 1


def test_a_checkpoint_guards_the_gradient_like_its_other_files(model_folder, tmp_path):
    trainer = sequences.trainer(model_folder("qwen3"))
    (tmp_path / "checkpoints").mkdir()
    run = RunFolder(tmp_path)
    one_pass(trainer, 0)
    folder = checkpoints.save(run, trainer, 1, 0, {})
    newest = checkpoints.newest(run)
    assert newest is not None and newest.folder == folder and checkpoints.problem(folder) is None
    gradients = folder / "gradients.safetensors"
    gradients.write_bytes(gradients.read_bytes()[:-1] + b"?")
    assert checkpoints.problem(folder) == "gradients.safetensors differs from its checksum"


@pytest.mark.parametrize("rank", [4, 0])
def test_the_weights_of_a_state_alone(model_folder, tmp_path, rank):
    """As an adapter of the same weights that was never updated: fresh moments, version 0, no gradient."""
    trainer = sequences.trainer(model_folder("qwen3"), rank)
    for seed in range(2):
        one_pass(trainer, seed)
        trainer.optim_step(ADAM)
    one_pass(trainer, 2)
    trainer.save_state(tmp_path / "state")
    other = sequences.trainer(model_folder("qwen3"), rank)
    one_pass(other, 9)
    other.optim_step(ADAM)
    one_pass(other, 9)
    other.load_state(tmp_path / "state", optimizer=False)
    assert bits(other) == bits(trainer)
    assert other.version == 0
    assert all(t.grad is None for t in other.parameters.values())
    one_pass(other, 4)
    before = np.concatenate([t.detach().numpy().ravel() for t in other.parameters.values()])
    slopes = np.concatenate([g.numpy().ravel() for g in sequences.gradients(other).values()])
    other.optim_step(AdamParams(1e-2, weight_decay=0.0))
    after = np.concatenate([t.detach().numpy().ravel() for t in other.parameters.values()])
    # the first update of AdamW is learning_rate times the sign of the gradient
    assert after - before == pytest.approx(-1e-2 * np.sign(slopes), abs=1e-5)
