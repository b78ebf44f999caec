"""What the trainer refuses, by the datum's number; a refusal leaves no gradient behind."""

from dataclasses import replace

import numpy as np
import pytest
from train import sequences

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.core.types import PLAIN_SUM, AdamParams
from tunesmith.losses import LOSSES, NEEDS
from tunesmith.models.folder import load_model
from tunesmith.models.lora import Adapter
from tunesmith.spec import METHODS
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

ADAM = AdamParams(1e-3)
COLUMN = {"old_logprobs": "logprobs", "ref_logprobs": "ref_logprobs", "advantages": "advantages"}


@pytest.fixture
def trainer(model_folder):
    return sequences.trainer(model_folder("qwen3"))


def refused(trainer, data, match, loss="cross_entropy", settings=None):
    with pytest.raises(UserError, match=match):
        trainer.forward_backward(data, loss, settings)
    assert all(t.grad is None for t in trainer.parameters.values())


@pytest.mark.parametrize(("loss", "column"), [(n, c) for n, columns in NEEDS.items() for c in sorted(columns)])
def test_a_column_that_the_loss_needs(trainer, loss, column):
    data = sequences.data()
    data[3] = sequences.without(data[3], COLUMN[column])
    settings = {"cfg": METHODS["dapo"]} if loss == "policy" else {}
    refused(trainer, data, f"datum 3: has no {COLUMN[column]}, which this loss needs", loss, settings)


def test_grpo_needs_a_reference_and_dapo_does_not(trainer):
    data = [sequences.without(d, "ref_logprobs") for d in sequences.data()]
    refused(trainer, data, "datum 0: has no ref_logprobs", "policy", {"cfg": METHODS["grpo"]})
    trainer.forward_backward(data, "policy", {"cfg": METHODS["dapo"]})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["weights", "logprobs", "ref_logprobs", "advantages"])
def test_numbers_that_are_not_finite(trainer, column, bad):
    """Also where the weight is 0: 0 times infinity is not 0."""
    data = sequences.data()
    values = getattr(data[1], column).copy()
    values[0] = bad
    data[1] = replace(data[1], **{column: values})
    refused(trainer, data, f"datum 1: {column} holds a number that is not finite")


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_to_train(trainer, loss):
    data = [replace(d, weights=d.weights * 0) for d in sequences.data()]
    settings = {"cfg": METHODS["grpo"]} if loss == "policy" else {}
    refused(trainer, data, "no token has a weight: nothing would be trained", loss, settings)
    refused(trainer, [], "no token has a weight", loss, settings)


@pytest.mark.parametrize("column", ["targets", "weights", "logprobs", "ref_logprobs", "advantages"])
def test_columns_of_another_length(trainer, column):
    data = sequences.data()
    data[2] = replace(data[2], **{column: getattr(data[2], column)[:-1]})
    refused(trainer, data, f"datum 2: {column} holds 11 numbers for 12 tokens")
    with pytest.raises(UserError, match="datum 2"):
        trainer.forward(data)


@pytest.mark.parametrize("bad", [-1, sequences.VOCAB])
@pytest.mark.parametrize("column", ["tokens", "targets"])
def test_ids_that_the_model_has_not(trainer, column, bad):
    data = sequences.data()
    ids = getattr(data[3], column).copy()
    ids[4] = bad
    data[3] = replace(data[3], **{column: ids})
    refused(trainer, data, f"datum 3: {column} holds the id {bad}, and the model's are 0 to {sequences.VOCAB - 1}")
    with pytest.raises(UserError, match="datum 3"):
        trainer.forward(data)


def test_a_sequence_without_tokens(trainer):
    data = sequences.data()
    data[4] = replace(data[4], **{n: getattr(data[4], n)[:0] for n in ("tokens", "targets", "weights")})
    refused(trainer, data, "datum 4: has no tokens")
    assert trainer.forward([]) == []


def test_unknown_losses_and_settings(trainer):
    data = sequences.data()
    refused(trainer, data, "loss: unknown 'cros_entropy'. Did you mean 'cross_entropy'", "cros_entropy")
    refused(trainer, data, "beta", "dpo", {"betta": 0.1})
    refused(trainer, data, "takes no settings", "cross_entropy", {"beta": 0.1})


def test_halves_of_pairs(trainer):
    refused(trainer, sequences.data([5, 6, 7]), "do not make pairs", "orpo")


def test_an_update_without_a_gradient(trainer):
    with pytest.raises(UserError, match="there is no gradient"):
        trainer.optim_step(ADAM)
    trainer.forward_backward(sequences.data(), "cross_entropy")
    trainer.optim_step(ADAM)
    with pytest.raises(UserError, match="there is no gradient"):
        trainer.optim_step(ADAM)
    assert trainer.version == 1


def test_a_gradient_that_is_not_finite_stops_the_job_and_moves_nothing(trainer):
    before = {n: t.detach().clone() for n, t in trainer.parameters.items()}
    trainer.forward_backward(sequences.data(), "cross_entropy", norm=PLAIN_SUM)
    next(iter(trainer.parameters.values())).grad[0] = float("inf")
    with pytest.raises(JobStopped, match="gradient's norm is"):
        trainer.optim_step(ADAM)
    assert all(t.equal(before[n]) for n, t in trainer.parameters.items())
    assert trainer.version == 0


def test_a_first_update_that_changes_nothing_stops_the_job(trainer):
    trainer.forward_backward(sequences.data(), "cross_entropy")
    with pytest.raises(JobStopped, match="the first update changed no weight"):
        trainer.optim_step(AdamParams(1e-30, weight_decay=0.0))


def test_a_learning_rate_of_0_is_the_users_word(trainer):
    """The first updates of a warm-up may have it; nothing moves, and nothing is refused."""
    trainer.forward_backward(sequences.data(), "cross_entropy")
    assert trainer.optim_step(AdamParams(0.0))["optim/learning_rate"] == 0


def test_nothing_that_could_be_trained(model_folder):
    folder = model_folder("qwen3")
    model = load_model(folder, sequences.tiny.CPU, sequences.torch.float32)
    with pytest.raises(UserError, match="0 trainable parameters"):
        LocalTrainer(Policy(model, NoLinears(4, {}, {}), folder, warm=False, reference=False), 100)


class NoLinears(Adapter):
    """An adapter on nothing."""

    def __bool__(self):
        return True


def test_a_single_sequence_that_does_not_fit(trainer, monkeypatch):
    def full(p, reference=False):
        raise sequences.torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(trainer.policy, "logprobs", full)
    with pytest.raises(JobStopped, match="out of memory on a single sequence"):
        trainer.forward_backward(sequences.data(), "cross_entropy")


def test_other_failures_are_not_taken_for_a_lack_of_memory(trainer, monkeypatch):
    def broken(p, reference=False):
        raise RuntimeError("kernel is broken")

    monkeypatch.setattr(trainer.policy, "logprobs", broken)
    with pytest.raises(RuntimeError, match="kernel is broken"):
        trainer.forward_backward(sequences.data(), "cross_entropy")


def test_settings_of_another_kind_are_refused_in_words(trainer):
    refused(trainer, sequences.data(), "cfg: must be a PolicyLoss", "policy", {"cfg": {"kl_coef": 0.1}})
