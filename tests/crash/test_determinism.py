"""The same spec gives the same bytes, however many rollouts run at once; the size of a pass changes rounding only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_kill import JOBS, job_settings
from tiny_jobs import settings

from tunesmith.core.types import AdamParams, Datum, Norm
from tunesmith.services.engine import Engine, build_engine
from tunesmith.spec.loss import METHODS


@pytest.mark.parametrize("name", JOBS)
def test_the_same_spec_gives_the_same_bytes(name: str, undisturbed: Any, jobs_folder: Path) -> None:
    spec = job_settings(name, jobs_folder)
    assert undisturbed(spec)[0] == undisturbed(spec)[0]


def test_another_seed_gives_other_bytes(undisturbed: Any, jobs_folder: Path) -> None:
    one, other = (undisturbed(settings("rft", jobs_folder, seed=seed))[0] for seed in (0, 1))
    assert all(one[f] != other[f] for f in one if f.endswith((".safetensors", ".jsonl", ".parquet")))


@pytest.mark.parametrize("lora_rank", [4, 0])
def test_rollouts_in_flight_change_no_byte(lora_rank: int, undisturbed: Any, jobs_folder: Path) -> None:
    shape = {"lora_rank": lora_rank, "chunk_size": 11, "max_tokens": 12}
    found = [undisturbed(settings("rft", jobs_folder, max_concurrent_rollouts=rows, **shape))[0] for rows in (1, 7, 96)]
    assert found[0] == found[1] == found[2]


def graded_data(engine: Engine, count: int = 24) -> list[Datum]:
    """Sequences of many lengths, some with a common prompt, with everything a policy loss reads."""
    rng = np.random.default_rng(3)
    data = []
    for i in range(count):
        prompt, reply = np.full(3 + i // 4, 5 + i // 4), rng.integers(1, 30, 2 + i % 7)
        ids = np.concatenate([prompt, reply]).astype(np.int32)
        weights = (np.arange(1, len(ids)) >= len(prompt)).astype(np.float32)
        data.append(Datum(ids[:-1], ids[1:], weights, advantages=weights * np.float32(rng.normal()), temperature=0.7))
    scored = zip(data, engine.trainer.forward(data), strict=True)
    return [replace(d, logprobs=q, ref_logprobs=q - np.float32(0.1) * d.weights) for d, q in scored]


def trained_weights(engine: Engine, tokens_per_pass: int) -> torch.Tensor:
    """All trained weights after two updates, in one row."""
    data = graded_data(engine)
    engine.trainer.tokens_per_pass = tokens_per_pass
    norm = Norm(float(sum(d.weights.sum() for d in data)), float(len(data)))
    for _ in range(2):
        engine.trainer.forward_backward(data, "policy", {"cfg": METHODS["grpo"]}, norm)
        engine.trainer.optim_step(AdamParams(1e-2, eps=1e-8))
    return torch.cat([p.detach().double().flatten() for p in engine.trainer.parameters.values()])


@pytest.mark.parametrize("lora_rank", [4, 0])
@pytest.mark.parametrize("tokens_per_pass", [1, 17, 64])
def test_the_size_of_a_pass_changes_rounding_only(lora_rank: int, tokens_per_pass: int, jobs_folder: Path) -> None:
    small, large = (
        trained_weights(build_engine(jobs_folder / "model", lora_rank=lora_rank, reference=True), tokens)
        for tokens in (tokens_per_pass, 1 << 20)
    )
    assert float((small - large).norm() / large.norm()) < 1e-6
