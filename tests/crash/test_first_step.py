"""What would train nothing, or train wrongly, is refused by name; running out of memory only costs a retry."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_determinism import graded_data
from torch import Tensor

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.core.types import AdamParams, Datum, Norm
from tunesmith.models.lora import Adapter
from tunesmith.services.engine import build_engine
from tunesmith.spec.loss import METHODS
from tunesmith.train import LocalTrainer
from tunesmith.train.pack import Pack
from tunesmith.train.policy import Policy


@pytest.fixture
def model(jobs_folder: Path) -> Path:
    return jobs_folder / "model"


def sequence() -> Datum:
    ids = np.arange(1, 9, dtype=np.int32)
    return Datum(ids[:-1], ids[1:], np.ones(7, np.float32))


def test_no_parameters(model: Path) -> None:
    engine = build_engine(model, lora_rank=4)
    policy = Policy(engine.model, Adapter(4, {}, {}), model, warm=False, reference=False)
    with pytest.raises(UserError, match="nothing to train: 0 trainable parameters"):
        LocalTrainer(policy, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": np.zeros(7, np.float32)}, "no token has a weight: nothing would be trained"),
        ({"weights": np.full(7, np.nan, np.float32)}, "datum 0: weights holds a number that is not finite"),
        ({"advantages": np.full(7, np.inf, np.float32)}, "datum 0: advantages holds a number that is not finite"),
        ({"logprobs": None}, "datum 0: has no logprobs, which this loss needs"),
        ({"ref_logprobs": None}, "datum 0: has no ref_logprobs, which this loss needs"),
    ],
)
def test_data_that_would_train_wrongly(model: Path, changes: dict[str, Any], said: str) -> None:
    columns = dict.fromkeys(("logprobs", "ref_logprobs", "advantages"), np.full(7, -1, np.float32))
    datum = replace(sequence(), **{**columns, **changes})
    trainer = build_engine(model, lora_rank=4, reference=True).trainer
    with pytest.raises(UserError, match=said):
        trainer.forward_backward([datum], "policy", {"cfg": METHODS["grpo"]})


def test_an_update_that_changes_no_weight(model: Path) -> None:
    trainer = build_engine(model, lora_rank=0).trainer
    trainer.forward_backward([sequence()], "cross_entropy")
    with pytest.raises(JobStopped, match=r"the first update changed no weight\. Raise learning_rate"):
        trainer.optim_step(AdamParams(1e-20))


def test_an_update_without_a_gradient(model: Path) -> None:
    with pytest.raises(UserError, match="there is no gradient"):
        build_engine(model, lora_rank=4).trainer.optim_step(AdamParams(1e-3))


def test_a_gradient_that_is_not_finite(model: Path) -> None:
    engine = build_engine(model, lora_rank=4)
    with torch.no_grad():
        engine.model.embed[3] = torch.inf
    engine.trainer.forward_backward([sequence()], "cross_entropy")
    with pytest.raises(JobStopped, match="the gradient's norm is nan"):
        engine.trainer.optim_step(AdamParams(1e-3))


class LittleMemory(Policy):
    """A policy on a device that holds only so many packed tokens at a time."""

    limit = 1 << 20

    def logprobs(self, p: Pack, reference: bool = False) -> Tensor:
        if len(p.tokens) > self.limit:
            raise torch.OutOfMemoryError(f"{len(p.tokens)} tokens")
        return super().logprobs(p, reference)


@pytest.mark.parametrize("loss", ["policy", "dpo"])
def test_memory_that_runs_out_costs_retries_and_changes_no_gradient(model: Path, loss: str) -> None:
    given: dict[str, Any] = {"cfg": METHODS["grpo"]} if loss == "policy" else {"beta": 0.1}
    gradients, splits = [], []
    for limit in (1 << 20, 40):
        engine = build_engine(model, lora_rank=4)
        data = graded_data(engine)
        policy = LittleMemory(engine.model, engine.trainer.policy.adapter, model, warm=False, reference=True)
        policy.limit = limit
        trainer = LocalTrainer(policy, 4096)
        metrics, _ = trainer.forward_backward(data, loss, given, Norm(70.0, 24.0))
        own = [p.grad for p in trainer.parameters.values() if p.grad is not None]
        gradients.append(torch.cat([g.double().flatten() for g in own]))
        splits.append(metrics["train/oom_splits"])
    assert splits[0] == 0 < splits[1]
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-6


def test_memory_that_does_not_hold_one_sequence_stops_the_job(model: Path) -> None:
    engine = build_engine(model, lora_rank=4)
    policy = LittleMemory(engine.model, engine.trainer.policy.adapter, model, warm=False, reference=False)
    policy.limit = 3
    with pytest.raises(JobStopped, match="out of memory on a single sequence"):
        LocalTrainer(policy, 4096).forward_backward([sequence(), sequence()], "cross_entropy")
