"""A trainer and a sampler on one tiny model, as a job has them, and what both say about the same tokens."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from models import tiny
from train import sequences

from tunesmith.core.shift import segment_to_datum
from tunesmith.core.types import Completion, Datum, Ints, SamplingParams
from tunesmith.rollout import LocalSampler
from tunesmith.rollout.collect import single_turn
from tunesmith.train import LocalTrainer

STOP = 7
"""Id that ends a completion in these tests."""


def pair(folder: Path, rank: int = 4, max_rows: int = 96, head: bool = False) -> tuple[LocalTrainer, LocalSampler]:
    """A trainer with an adapter that changes something, and a sampler that serves it."""
    trainer = sequences.trainer(folder, rank, head=head)
    sampler = LocalSampler(trainer.policy.model, [STOP], words, max_rows)
    asyncio.run(sampler.load(trainer.save_weights_for_sampler("now")))
    return trainer, sampler


def words(tokens: Ints) -> str:
    """Ids as text: ' 12 7'."""
    return "".join(f" {t}" for t in tokens)


def prompt(length: int, seed: int = 0) -> Ints:
    return np.random.default_rng(seed).integers(8, tiny.SIZES["vocab_size"], length).astype(np.int32)


def sample(sampler: LocalSampler, *requests: tuple[Ints, SamplingParams, int]) -> list[list[Completion]]:
    """All requests at once."""

    async def together() -> list[list[Completion]]:
        return list(await asyncio.gather(*(sampler.sample(*r) for r in requests)))

    return asyncio.run(together())


def same(a: Sequence[Completion], b: Sequence[Completion]) -> bool:
    """To the bit."""

    def bits(c: Completion) -> tuple[object, ...]:
        return (c.tokens.tobytes(), c.logprobs.tobytes(), c.sampling_logprobs.tobytes(), c.stop)

    return [bits(c) for c in a] == [bits(c) for c in b]


def data_of(start: Ints, completions: Sequence[Completion], temperature: float) -> list[Datum]:
    """What a job would train on, with an advantage that is not 0."""
    rollouts = [single_turn(start, c, temperature, words) for c in completions]
    return [segment_to_datum(r.segments[0], 1.0) for r in rollouts]


def with_seed(params: SamplingParams, seed: int) -> SamplingParams:
    return replace(params, seed=seed)
