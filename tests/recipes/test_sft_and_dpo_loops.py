"""SFT and preference tuning on a real trainer of a tiny model: known first losses, best weights, resumption."""

import asyncio
import math

import numpy as np
import pytest
import torch
from models import tiny
from recipes import fakes
from train import sequences

from tunesmith.core.types import Datum
from tunesmith.models.folder import load_model
from tunesmith.models.lora import new_adapter
from tunesmith.recipes import dpo, sft
from tunesmith.recipes.schedule import schedule
from tunesmith.spec import DpoSpec, SftSpec
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy


@pytest.fixture
def trainer(model_folder):
    """Makes trainers of fresh adapters on the same random weights."""

    def make() -> LocalTrainer:
        model = load_model(model_folder("llama"), tiny.CPU, torch.float32)
        adapter = new_adapter(model.targets(), 4, 0, tiny.CPU)
        return LocalTrainer(Policy(model, adapter, model_folder("llama"), warm=False, reference=True), 1000)

    return make


def data(count: int, seed: int = 0) -> list[Datum]:
    plain = sequences.data(list(range(5, 5 + count)), seed, temperature=1.0)
    return [sequences.without(d, "logprobs", "ref_logprobs", "advantages") for d in plain]


def pairs(count: int, seed: int = 0):
    flat = data(2 * count, seed)
    return list(zip(flat[::2], flat[1::2], strict=True))


def sft_job(trainer, rows=10, heldout=3, **settings):
    given = {"dataset": "x", "limits": "off", "batch_size_samples": 4, "learning_rate": 0.02, **settings}
    return sft.SftJob(SftSpec(**given), data(rows), data(heldout, seed=9), trainer)


def dpo_job(trainer, rows=6, heldout=2, **settings):
    given = {"dataset": "x", "limits": "off", "batch_size_samples": 2, "learning_rate": 0.02, **settings}
    return dpo.DpoJob(DpoSpec(**given), pairs(rows), pairs(heldout, seed=9), trainer)


def run(recipe, job, **kwargs):
    return asyncio.run(fakes.reports(recipe.run(job, **kwargs)))


def test_the_first_loss_of_sft_is_the_mean_over_trained_tokens(trainer):
    job = sft_job(trainer(), epochs=2)
    reports = run(sft, job)
    assert [r.step for r in reports] == list(range(7))
    assert [r.metrics["epoch"] for r in reports[1:]] == [1, 1, 1, 2, 2, 2]
    own = trainer()
    first = schedule(job.data, 4, 2, 0)[0].items
    nats = [float(lp.astype(np.float64).sum()) for lp in own.forward(first)]
    tokens = sum(int((d.weights != 0).sum()) for d in first)
    assert reports[1].metrics["train/loss"] == pytest.approx(-sum(nats) / tokens, rel=1e-5)
    assert reports[1].metrics["train/tokens"] == tokens
    held = -sum(float(lp.astype(np.float64).sum()) for lp in own.forward(job.heldout))
    assert reports[0].metrics["eval/loss"] == pytest.approx(
        held / sum((d.weights != 0).sum() for d in job.heldout), rel=1e-6
    )


def test_sft_learns(trainer):
    losses = [r.metrics["train/loss"] for r in run(sft, sft_job(trainer(), epochs=25, learning_rate=0.01))[1:]]
    assert losses[-1] < 0.8 * losses[0]


def test_the_first_loss_of_dpo_is_ln_2(trainer):
    reports = run(dpo, dpo_job(trainer(), epochs=3))
    assert reports[1].metrics["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert reports[1].metrics["train/margin"] == pytest.approx(0, abs=1e-6)
    assert reports[0].metrics["eval/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert reports[-1].metrics["train/loss"] < 0.6
    assert reports[-1].metrics["train/accuracy"] == 1.0


def test_the_reference_of_dpo_is_scored_once_for_every_pair():
    fake = fakes.FakeTrainer()
    run(dpo, dpo_job(fake, rows=6, heldout=2, epochs=3))
    assert fake.named("reference") == [12, 4]
    batches = fake.named("forward_backward")
    assert [len(d) for d, *_ in batches] == [4] * 9
    assert all((d.ref_logprobs == np.where(d.weights != 0, -1.5, 0)).all() for ds, *_ in batches for d in ds)
    assert {tuple(settings.items()) for _, _, settings, _ in batches} == {(("beta", 0.1),)}
    assert {norm.sequences for *_, norm in batches} == {2.0}


def test_orpo_runs_and_needs_no_reference(trainer):
    fake = fakes.FakeTrainer()
    run(dpo, dpo_job(fake, preference_loss="orpo", orpo_lambda=0.3))
    assert fake.named("reference") == []
    assert {tuple(s.items()) for _, _, s, _ in fake.named("forward_backward")} == {(("orpo_lambda", 0.3),)}
    reports = run(dpo, dpo_job(trainer(), preference_loss="orpo", epochs=6))
    assert reports[-1].metrics["train/loss"] < reports[1].metrics["train/loss"]
    assert reports[-1].metrics["train/accuracy"] == 1.0


@pytest.mark.parametrize(("recipe", "make"), [(sft, sft_job), (dpo, dpo_job)])
def test_only_steps_with_a_lower_held_out_loss_than_ever_are_the_best(recipe, make, trainer):
    reports = run(recipe, make(trainer(), epochs=6, eval_every=1, learning_rate=0.05))
    losses = [r.metrics["eval/loss"] for r in reports]
    lowest = [loss < min(losses[:i]) if i else False for i, loss in enumerate(losses)]
    assert [r.best for r in reports] == lowest
    assert [r.state["lowest_heldout_loss"] for r in reports] == [min(losses[: i + 1]) for i in range(len(losses))]


@pytest.mark.parametrize(("recipe", "make"), [(sft, sft_job), (dpo, dpo_job)])
def test_going_on_does_what_was_left(recipe, make, trainer):
    whole_trainer = trainer()
    whole = run(recipe, make(whole_trainer, epochs=2, eval_every=2))
    first = trainer()
    half = run(recipe, make(first, epochs=1, eval_every=2))
    # half a job of one epoch has come to where the job of two is after its first epoch
    rest = run(recipe, make(first, epochs=2, eval_every=2), after=len(half) - 1, state=half[-1].state)
    assert [r.metrics["train/loss"] for r in half[1:] + rest] == [r.metrics["train/loss"] for r in whole[1:]]
    assert [r.step for r in rest] == [r.step for r in whole[len(half) :]]


@pytest.mark.parametrize(("recipe", "make"), [(sft, sft_job), (dpo, dpo_job)])
def test_without_held_out_rows_nothing_is_best(recipe, make, trainer):
    reports = run(recipe, make(trainer(), heldout=0))
    assert [r.best for r in reports] == [False] * len(reports)
    assert all("eval/loss" not in r.metrics for r in reports)
    assert all(not r.state for r in reports)


@pytest.mark.parametrize("loss", ["dpo", "orpo"])
def test_held_out_margins_by_hand(loss):
    """Policy -1 nat a token, reference -1.5: a pair's margin is beta x 0.5 x the difference of the answers' lengths."""
    fake = fakes.FakeTrainer()
    job = dpo_job(fake, heldout=2, preference_loss=loss)
    metrics = run(dpo, job)[0].metrics
    lengths = [[int((d.weights != 0).sum()) for d in pair] for pair in job.heldout]
    margins = [0.1 * 0.5 * (better - worse) if loss == "dpo" else 0.0 for better, worse in lengths]
    assert metrics["eval/margin"] == pytest.approx(sum(margins) / 2, abs=1e-6)
    assert metrics["eval/accuracy"] == sum(m > 0 for m in margins) / 2
    expected = sum(math.log(1 + math.exp(-m)) for m in margins) / 2
    assert metrics["eval/loss"] == pytest.approx(expected, rel=1e-6)
