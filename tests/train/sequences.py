"""Trainers on tiny random models, and random data for them with every column that any loss reads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from models import tiny

from tunesmith.core.types import Datum
from tunesmith.models.folder import load_model
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

VOCAB = tiny.SIZES["vocab_size"]
LENGTHS = (9, 4, 12, 6, 2, 7)
"""Targets per sequence; odd ones out, so that nothing lines up by chance."""


def trainer(
    folder: Path,
    rank: int = 4,
    *,
    budget: int = 10_000,
    dtype: torch.dtype = torch.float32,
    reference: bool = False,
    warm: bool = False,
    head: bool = False,
    **parts: bool,
) -> LocalTrainer:
    """A trainer whose adapter already changes something; rank 0 trains all weights."""
    model = load_model(folder, tiny.CPU, dtype)
    adapter = tiny.trained_adapter(model, rank, head=head, **parts) if rank else None
    return LocalTrainer(Policy(model, adapter, folder, warm, reference), budget)


def data(lengths: Sequence[int] = LENGTHS, seed: int = 0, temperature: float = 0.8) -> list[Datum]:
    """Random sequences whose first third is a prompt; ratios near 1, a mix of signs in the advantages."""
    draw = np.random.default_rng(seed)
    return [_datum(draw, length, temperature) for length in lengths]


def group(prompt: int, replies: Sequence[int], seed: int = 0, temperature: float = 0.8) -> list[Datum]:
    """Several replies to one prompt of so many tokens, laid out as rollouts are."""
    draw = np.random.default_rng(seed)
    start = draw.integers(0, VOCAB, prompt)
    return [_datum(draw, prompt + n - 1, temperature, start) for n in replies]


def without(d: Datum, *columns: str) -> Datum:
    return replace(d, **dict.fromkeys(columns))


def gradients(trainer: LocalTrainer) -> dict[str, torch.Tensor]:
    """The accumulated gradient by parameter; 0 where nothing arrived."""
    return {n: torch.zeros_like(t) if t.grad is None else t.grad.clone() for n, t in trainer.parameters.items()}


def clear(trainer: LocalTrainer) -> None:
    for tensor in trainer.parameters.values():
        tensor.grad = None


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over all parameters, relative to the largest number of either."""
    assert a.keys() == b.keys()
    largest = max(float(t.abs().max()) for t in (*a.values(), *b.values()))
    return max(float((a[n] - b[n]).abs().max()) for n in a) / largest


def _datum(draw: np.random.Generator, length: int, temperature: float, prompt: np.ndarray | None = None) -> Datum:
    tokens = draw.integers(0, VOCAB, length + 1).astype(np.int32)
    begin = max(1, length // 3) if prompt is None else len(prompt)
    if prompt is not None:
        tokens[:begin] = prompt
    sampled = np.arange(1, length + 1) >= begin
    return Datum(
        tokens=tokens[:-1],
        targets=tokens[1:],
        weights=sampled.astype(np.float32),
        logprobs=np.where(sampled, -4 - 0.3 * draw.standard_normal(length), 0).astype(np.float32),
        ref_logprobs=np.where(sampled, -4 - 0.3 * draw.standard_normal(length), 0).astype(np.float32),
        advantages=(draw.standard_normal(length) * sampled).astype(np.float32),
        temperature=temperature,
    )
