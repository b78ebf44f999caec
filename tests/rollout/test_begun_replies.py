"""Conversations that go on: each turn sampled on its own, all of them trained as one Segment, with a gap of 0."""

from dataclasses import replace

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.shift import segment_to_datum
from tunesmith.core.types import SamplingParams, Segment

PARAMS = SamplingParams(max_tokens=6, temperature=0.8, top_k=0, seed=3)
SAID = (5, 11, 2)
"""Tokens that a tool or a user says after each turn."""


def conversations(sampler, starts):
    """One Segment per prompt: a reply, something said, a reply, and so on; all prompts at once."""
    segments = []
    for start in starts:
        none = np.zeros(len(start), bool), np.zeros(len(start), np.float32)
        segments.append(Segment(start, *none, PARAMS.temperature))
    for turn in range(len(SAID) + 1):
        requests = [
            (s.tokens, replace(PARAMS, seed=turn, begun=len(s.tokens) - len(start)), 1)
            for s, start in zip(segments, starts, strict=True)
        ]
        replies = [found[0] for found in policies.sample(sampler, *requests)]
        said = policies.prompt(SAID[turn], seed=turn) if turn < len(SAID) else np.zeros(0, np.int32)
        segments = [grown(s, reply, said) for s, reply in zip(segments, replies, strict=True)]
    return segments


def grown(segment, reply, said):
    return Segment(
        np.concatenate([segment.tokens, reply.tokens, said]),
        np.concatenate([segment.sampled, np.ones(len(reply.tokens), bool), np.zeros(len(said), bool)]),
        np.concatenate([segment.logprobs, reply.logprobs, np.zeros(len(said), np.float32)]),
        segment.temperature,
    )


def largest_gap(trainer, segments):
    data = [segment_to_datum(s, 1.0) for s in segments]
    found = zip(trainer.forward(data), data, strict=True)
    return max(np.abs(p - d.logprobs)[d.weights != 0].max() for p, d in found)


@pytest.mark.parametrize("family", ["qwen3", "mistral-window", "llama-many-heads"])
@pytest.mark.parametrize("rank", [4, 0])
def test_the_gap_of_many_turns_is_0(model_folder, family, rank):
    trainer, sampler = policies.pair(model_folder(family), rank)
    segments = conversations(sampler, [policies.prompt(n, seed=n) for n in (9, 2, 20)])
    assert all(np.diff(s.sampled.astype(int)).clip(0).sum() == len(SAID) + 1 for s in segments)
    assert largest_gap(trainer, segments) == 0.0


def test_one_prompt_for_many_and_any_batch(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3"))
    starts = [policies.prompt(20, seed=1)] * 3 + [policies.prompt(7, seed=2)]
    together = conversations(sampler, starts)
    _, few = policies.pair(model_folder("qwen3"), max_rows=2)
    alone = [conversations(few, [start])[0] for start in starts]
    for a, b in zip(together, alone, strict=True):
        assert a.tokens.tobytes() == b.tokens.tobytes() and a.logprobs.tobytes() == b.logprobs.tobytes()
    assert largest_gap(trainer, together) == 0.0


def test_only_the_last_bits_depend_on_where_sampling_began(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    tokens = policies.prompt(50, seed=4)
    whole, begun = policies.sample(sampler, (tokens, PARAMS, 3), (tokens, replace(PARAMS, begun=25), 3))
    for a, b in zip(whole, begun, strict=True):
        assert a.tokens.tolist() == b.tokens.tolist()
        assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)


def test_more_begun_than_there_is(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    with pytest.raises(UserError, match="begun"):
        policies.sample(sampler, (policies.prompt(4), replace(PARAMS, begun=4), 1))
