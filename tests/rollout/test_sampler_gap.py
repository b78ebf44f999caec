"""Sampler and trainer say the same about the same tokens: on a CPU in float32 to the bit."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.shift import sequence_to_datum
from tunesmith.core.types import AdamParams, Norm, SamplingParams
from tunesmith.services.names import embedded_model

FAMILIES = ["qwen3", "llama-many-heads", "qwen2-window", "mistral-window", "mistral", "qwen3_moe-dense-layer"]
PARAMS = [
    SamplingParams(max_tokens=16, temperature=0.7, top_p=0.9, top_k=12, seed=5),
    SamplingParams(max_tokens=5, temperature=1.6, top_p=1.0, top_k=0, seed=6),
    SamplingParams(max_tokens=24, temperature=1.0, top_p=0.8, top_k=40, seed=7),
]


def largest_gap(trainer, groups):
    """|log p - log q| over the data of all groups in one call, as a job trains them."""
    data, sampled = [], []
    for start, params, completions in groups:
        data += policies.data_of(start, completions, params.temperature)
        sampled += [c.logprobs for c in completions]
    gaps = [np.abs(f[d.weights != 0] - q).max() for f, d, q in zip(trainer.forward(data), data, sampled, strict=True)]
    return max(gaps)


def rollouts(sampler, lengths=(9, 2, 33), n=6):
    starts = [policies.prompt(length, seed=length) for length in lengths]
    requests = list(zip(starts, PARAMS, [n] * len(starts), strict=True))
    return [(s, p, found) for (s, p, _), found in zip(requests, policies.sample(sampler, *requests), strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [4, 0])
def test_the_gap_is_exactly_0(model_folder, family, rank):
    trainer, sampler = policies.pair(model_folder(family), rank)
    groups = rollouts(sampler)
    assert any(c.stop == "length" for _, _, found in groups for c in found)
    assert largest_gap(trainer, groups) == 0.0


@pytest.mark.parametrize("max_rows", [1, 5])
@pytest.mark.parametrize("budget", [40, 10_000])
def test_whatever_the_batch_and_the_pass(model_folder, max_rows, budget):
    trainer, sampler = policies.pair(model_folder("qwen3"), max_rows=max_rows)
    trainer.tokens_per_pass = budget
    assert largest_gap(trainer, rollouts(sampler)) == 0.0


def test_with_an_adapted_head(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3-bias"), head=True)
    assert largest_gap(trainer, rollouts(sampler)) == 0.0


def test_long_replies():
    """Beyond the places that a step is laid out for at first; what was laid out anew holds on."""
    trainer, sampler = policies.pair(embedded_model())
    long = SamplingParams(max_tokens=150, temperature=1.1, top_k=0, seed=2, stop_ids=())
    requests = [(policies.prompt(n), replace(long, max_tokens=most), 3) for n, most in ((5, 150), (70, 90))]
    found = policies.sample(sampler, *requests)
    assert [len(c.tokens) for group in found for c in group] == [150] * 3 + [90] * 3
    groups = [(start, params, group) for (start, params, _), group in zip(requests, found, strict=True)]
    assert largest_gap(trainer, groups) == 0.0


def test_replies_of_one_token(model_folder):
    """Such as an end token at once: prompt and reply have nothing between them to encode."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start = policies.prompt(19)
    params = SamplingParams(max_tokens=1, temperature=1.3, top_k=0, seed=1)
    (found,) = policies.sample(sampler, (start, params, 6))
    long = SamplingParams(max_tokens=9, temperature=1.3, top_k=0, seed=1)
    (longer,) = policies.sample(sampler, (start, long, 6))
    mixed = [x for pair in zip(found, longer, strict=True) for x in pair]
    assert largest_gap(trainer, [(start, params, mixed)]) == 0.0
    assert largest_gap(trainer, [(start, params, found[:1])]) == 0.0


def test_passes_of_a_few_tokens(model_folder):
    """Prompt and reply together are shorter than the rows from which a matrix product keeps its bits."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    for length in (1, 2, 3):
        start, params = policies.prompt(length), SamplingParams(max_tokens=3, temperature=0.9, seed=length)
        (found,) = policies.sample(sampler, (start, params, 4))
        assert all(largest_gap(trainer, [(start, params, [c])]) == 0.0 for c in found)


def test_after_updates(model_folder):
    """The gap opens by an update and closes when its weights are published."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    groups = rollouts(sampler)
    data = [d for start, params, found in groups for d in policies.data_of(start, found, params.temperature)]
    for step in range(3):
        trainer.forward_backward(data, "cross_entropy", norm=Norm(100, 6))
        trainer.optim_step(AdamParams(5e-3))
        assert largest_gap(trainer, groups) > 1e-3
        asyncio.run(sampler.load(trainer.save_weights_for_sampler(f"step-{step}")))
        groups = rollouts(sampler)
        assert largest_gap(trainer, groups) == 0.0


def test_greedy_tokens_have_the_log_probabilities_of_temperature_1(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3"))
    start, params = policies.prompt(9), SamplingParams(max_tokens=12, temperature=0.0, seed=5)
    (found,) = policies.sample(sampler, (start, params, 2))
    assert found[0].tokens.tolist() == found[1].tokens.tolist()
    assert found[0].sampling_logprobs.tolist() == [0.0] * len(found[0].tokens)
    assert largest_gap(trainer, [(start, params, found)]) == 0.0  # a greedy rollout is trained at temperature 1


def unweighted(tokens):
    """A sequence that is only scored: no part of it is a prompt, so it is encoded in one piece."""
    return sequence_to_datum(tokens, np.zeros(len(tokens), np.float32))


@pytest.mark.parametrize("family", ["qwen3", "mistral-window", "qwen3_moe"])
@pytest.mark.parametrize("rank", [4, 0])
def test_compute_logprobs_is_the_trainers_forward(model_folder, family, rank):
    """To the bit, alone and among others; a prompt encoded by itself adds up in another order."""
    trainer, sampler = policies.pair(model_folder(family), rank)
    texts = [policies.prompt(length, seed=length) for length in (2, 3, 17, 40, 18)]
    found = [asyncio.run(sampler.compute_logprobs(tokens)) for tokens in texts]
    together = trainer.forward([unweighted(tokens) for tokens in texts], all_tokens=True)
    for tokens, scored, own in zip(texts, found, together, strict=True):
        assert scored[0] == 0
        assert scored[1:].tobytes() == own.tobytes()
        (alone,) = trainer.forward([unweighted(tokens)], all_tokens=True)
        assert alone.tobytes() == own.tobytes()
        (trained,) = trainer.forward([sequence_to_datum(tokens, np.ones(len(tokens), np.float32))])
        assert trained == pytest.approx(own, abs=2e-6)


def test_compute_logprobs_of_next_to_nothing(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    assert asyncio.run(sampler.compute_logprobs(policies.prompt(1))).tolist() == [0.0]
    assert asyncio.run(sampler.compute_logprobs(policies.prompt(0))).tolist() == []
