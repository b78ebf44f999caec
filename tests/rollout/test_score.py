"""Prompt scoring against the whole table of log-probabilities, which the product never holds."""

import asyncio

import numpy as np
import pytest
import torch
from models import tiny
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.types import PromptScoring
from tunesmith.models import head

LENGTHS = [2, 3, 17, 40]


def score(sampler, tokens, **scoring):
    return asyncio.run(sampler.score(tokens, PromptScoring(**scoring)))


def table(trainer, tokens):
    """[L - 1, V] log-probabilities, of every position after the first."""
    logits = tiny.logits(trainer.policy.model, torch.from_numpy(tokens.astype(np.int64)), trainer.policy.adapter)
    return logits.log_softmax(-1).numpy()[:-1]


@pytest.mark.parametrize("family", ["qwen3", "mistral-window", "qwen3_moe", "llama"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("head", [False, True])
def test_all_there_is_to_ask(model_folder, family, length, head):
    trainer, sampler = policies.pair(model_folder(family), head=head)
    tokens = policies.prompt(length, seed=length)
    rng = np.random.default_rng(length)
    targets = rng.integers(-1, 61, (length - 1, 3)).astype(np.int32)
    targets[0] = -1
    found = score(sampler, tokens, top_k=4, targets=targets, alternatives=5, seed=9)
    expected = table(trainer, tokens)
    own = expected[np.arange(length - 1), tokens[1:]]
    assert np.isnan(found.logprobs[0])
    assert found.logprobs[1:] == pytest.approx(own, abs=1e-5)
    assert (found.top_ids.shape, found.top_logprobs.shape) == ((length, 4), (length, 4))
    assert found.top_logprobs[1:] == pytest.approx(-np.sort(-expected, -1)[:, :4], abs=1e-5)
    assert np.take_along_axis(expected, found.top_ids[1:], 1) == pytest.approx(found.top_logprobs[1:], abs=1e-5)
    assert np.isnan(found.top_logprobs[0]).all() and not found.top_ids[0].any()
    named = np.take_along_axis(expected, np.maximum(targets, 0), 1)
    assert found.target_logprobs == pytest.approx(np.where(targets < 0, 0, named), abs=1e-5)
    assert found.alternative_ids.shape == found.alternative_logprobs.shape == (length - 1, 5)
    drawn = np.take_along_axis(expected, found.alternative_ids, 1)
    assert found.alternative_logprobs == pytest.approx(drawn, abs=1e-5)
    types = {x.dtype for x in (found.logprobs, found.top_logprobs, found.target_logprobs, found.alternative_logprobs)}
    assert types == {np.dtype(np.float32)}
    assert found.top_ids.dtype == found.alternative_ids.dtype == np.int32


def test_what_is_not_asked_for_is_not_there(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    found = score(sampler, policies.prompt(9))
    assert found.top_ids is found.top_logprobs is found.target_logprobs is None
    assert found.alternative_ids is found.alternative_logprobs is None


@pytest.mark.parametrize("last_n", [1, 2, 16, 17, 39])
def test_the_last_n_alone(model_folder, last_n):
    """The same bits as in the whole; targets and alternatives do not heed it."""
    _, sampler = policies.pair(model_folder("qwen3"))
    tokens, targets = policies.prompt(40), np.full((39, 1), 5, np.int32)
    whole = score(sampler, tokens, top_k=3, targets=targets, alternatives=2)
    for extras in ({}, {"targets": targets}, {"alternatives": 2}):
        found = score(sampler, tokens, top_k=3, last_n=last_n, **extras)
        assert np.isnan(found.logprobs[:-last_n]).all()
        assert found.logprobs[-last_n:].tobytes() == whole.logprobs[-last_n:].tobytes()
        assert found.top_logprobs[-last_n:] == pytest.approx(whole.top_logprobs[-last_n:], abs=1e-6)
        assert (found.top_ids[-last_n:] == whole.top_ids[-last_n:]).all()
        assert np.isnan(found.top_logprobs[:-last_n]).all() and not found.top_ids[:-last_n].any()
        if "targets" in extras:
            assert found.target_logprobs == pytest.approx(whole.target_logprobs, abs=1e-6)
        if "alternatives" in extras:
            assert (found.alternative_ids == whole.alternative_ids).all()


def test_only_what_is_needed_goes_through_the_last_layer(model_folder, monkeypatch):
    _, sampler = policies.pair(model_folder("qwen3"))
    model, seen = sampler.model, []
    whole = model.forward

    def noted(*args):
        seen.append(len(out := whole(*args)))
        return out

    monkeypatch.setattr(model, "forward", noted)
    targets = np.full((59, 2), -1, np.int32)
    score(sampler, policies.prompt(60), last_n=20)
    score(sampler, policies.prompt(60), last_n=20, targets=targets)
    targets[30, 1] = 4
    score(sampler, policies.prompt(60), last_n=20, targets=targets)
    score(sampler, policies.prompt(60), last_n=2)
    assert seen == [20, 20, 29, 16]


@pytest.mark.parametrize("rows", [16, 20])
def test_any_split_into_chunks_says_the_same(model_folder, monkeypatch, rows):
    """A chunk holds so many rows of logits of the 61 ids."""
    _, sampler = policies.pair(model_folder("qwen3"))
    asked = {"top_k": 3, "targets": np.full((59, 2), 7, np.int32), "alternatives": 3}
    whole = score(sampler, policies.prompt(60), **asked)
    sizes, real = [], sampler.model.logits

    def noted(hidden, adapter):
        sizes.append(len(hidden))
        return real(hidden, adapter)

    monkeypatch.setitem(head.CHUNK_NUMBERS, "cpu", rows * 61)
    monkeypatch.setattr(sampler.model, "logits", noted)
    parts = score(sampler, policies.prompt(60), **asked)
    assert max(sizes) == rows < 59 == sum(sizes)
    assert parts.logprobs.tobytes() == whole.logprobs.tobytes()
    assert (parts.alternative_ids == whole.alternative_ids).all()
    assert (parts.top_ids == whole.top_ids).all()
    assert parts.target_logprobs == pytest.approx(whole.target_logprobs, abs=1e-6)


def test_alternatives_are_drawn_as_often_as_their_probability_says(model_folder):
    """At temperature 0.5, 20,000 draws at a position; the largest of 61 errors stays within 5 standard deviations."""
    trainer, sampler = policies.pair(model_folder("qwen3"))
    tokens = policies.prompt(3)
    found = score(sampler, tokens, alternatives=20_000, temperature=0.5, seed=4)
    cold = 2 * table(trainer, tokens)
    shares = np.exp(cold) / np.exp(cold).sum(-1, keepdims=True)
    for ids, share in zip(found.alternative_ids, shares, strict=True):
        counts = np.bincount(ids, minlength=61)
        assert (np.abs(counts - 20_000 * share) < 5 * np.sqrt(20_000 * share * (1 - share)) + 1).all()


def test_seeds_of_alternatives(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    tokens = policies.prompt(20)
    a, again, other = (score(sampler, tokens, alternatives=6, seed=s).alternative_ids for s in (1, 1, 2))
    assert (a == again).all()
    assert (a != other).any(-1).mean() > 0.5
    assert (score(sampler, tokens, alternatives=9, seed=1).alternative_ids[:, :6] == a).all()
    greedy = score(sampler, tokens, alternatives=3, temperature=0.0, top_k=1)
    assert (greedy.alternative_ids == greedy.top_ids[1:]).all()


def test_next_to_nothing(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    one = score(sampler, policies.prompt(1), top_k=2, alternatives=2, targets=np.zeros((0, 3), np.int32))
    assert np.isnan(one.logprobs).tolist() == [True]
    assert (one.top_ids.shape, one.target_logprobs.shape, one.alternative_ids.shape) == ((1, 2), (0, 3), (0, 2))
    assert score(sampler, policies.prompt(0)).logprobs.shape == (0,)
    assert score(sampler, policies.prompt(2), targets=np.zeros((1, 0), np.int32)).target_logprobs.shape == (1, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"last_n": 0}, "last_n: can't be 0. Give 1 to 8"),
        ({"last_n": 9}, "last_n: can't be 9"),
        ({"top_k": -1}, "top_k: can't be -1. Give 0 to 61"),
        ({"top_k": 62}, "top_k: can't be 62"),
        ({"alternatives": -1}, "alternatives: can't be -1"),
        ({"temperature": -1.0}, "temperature: can't be -1.0"),
        ({"seed": -3}, "seed: can't be -3"),
        ({"targets": np.zeros((9, 2), np.int32)}, r"targets: has shape \(9, 2\) for 9 tokens.*\[8, K\]"),
        ({"targets": np.zeros(8, np.int32)}, r"targets: has shape \(8,\) for 9 tokens"),
        ({"targets": np.full((8, 1), -2, np.int32)}, "targets: -2 is no id of this model"),
        ({"targets": np.full((8, 1), 61, np.int32)}, "targets: 61 is no id of this model"),
    ],
)
def test_refusals(model_folder, change, said):
    _, sampler = policies.pair(model_folder("qwen3"))
    with pytest.raises(UserError, match=said):
        score(sampler, policies.prompt(9), **change)


def test_tokens_that_the_model_can_not_read_are_refused(model_folder):
    _, sampler = policies.pair(model_folder("qwen3"))
    with pytest.raises(UserError, match="prompt: 61 is no id"):
        score(sampler, np.array([5, 61, 3], np.int32))
    with pytest.raises(UserError, match="65 tokens exceed the model's context window: 64"):
        score(sampler, policies.prompt(65))
    assert len(score(sampler, policies.prompt(64)).logprobs) == 64
