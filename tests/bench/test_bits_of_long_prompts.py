"""The sampler's and the trainer's log-probabilities agree to the last bit, whatever the prompts and the batch."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tunesmith.core.ports import Weights
from tunesmith.core.shift import segment_to_datum
from tunesmith.core.types import Completion, Ints, SamplingParams
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import load_model
from tunesmith.models.lora import Adapter, new_adapter
from tunesmith.rollout import LocalSampler
from tunesmith.rollout.collect import single_turn
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

CPU = torch.device("cpu")
LENGTHS = [3, 64, 200, 260, 325, 450]
"""Prompt tokens; matrix products over keys change their order of summation between 192 and 384 on some processors."""
PARAMS = SamplingParams(max_tokens=20, temperature=0.9, top_k=0)


@pytest.fixture
def model(tmp_path: Path) -> Decoder:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    return load_model(tmp_path, CPU, torch.float32)


def trained(model: Decoder) -> Adapter:
    """An adapter that changes something: B is random instead of 0."""
    adapter = new_adapter(model.targets(), 4, 0, CPU)
    with torch.no_grad():
        for pair in adapter.pairs.values():
            pair.b.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    return adapter


def prompts() -> list[Ints]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 50, n).astype(np.int32) for n in LENGTHS]


def sample(model: Decoder, adapter: Adapter | None, max_rows: int) -> list[list[Completion]]:
    async def run() -> list[list[Completion]]:
        sampler = LocalSampler(model, [7], str, max_rows)
        if adapter is not None:
            await sampler.load(Weights("trained", 1, adapter.snapshot()))
        return list(await asyncio.gather(*(sampler.sample(p, PARAMS, 5) for p in prompts())))

    return asyncio.run(run())


@pytest.mark.parametrize("lora", [True, False])
def test_the_gap_is_zero(model: Decoder, lora: bool, tmp_path: Path) -> None:
    adapter = trained(model) if lora else None
    groups = sample(model, adapter, 96)
    data = [
        segment_to_datum(single_turn(prompt, c, PARAMS.temperature, str).segments[0], 1.0)
        for prompt, group in zip(prompts(), groups, strict=True)
        for c in group
    ]
    policy = Policy(model, adapter, tmp_path, warm=False, reference=False)
    for tokens_per_pass in (512, 4096):
        scored = LocalTrainer(policy, tokens_per_pass).forward(data)
        for datum, trainer in zip(data, scored, strict=True):
            assert datum.logprobs is not None and np.array_equal(datum.logprobs, trainer), len(datum.tokens)


@pytest.mark.thorough
@pytest.mark.parametrize("max_rows", [1, 7])
def test_the_batch_does_not_matter(model: Decoder, max_rows: int) -> None:
    adapter = trained(model)
    for group, other in zip(sample(model, adapter, 96), sample(model, adapter, max_rows), strict=True):
        for a, b in zip(group, other, strict=True):
            assert np.array_equal(a.tokens, b.tokens) and np.array_equal(a.logprobs, b.logprobs)
