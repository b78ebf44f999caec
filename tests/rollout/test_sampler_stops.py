"""Where a completion ends, and what it says about it."""

import numpy as np
import pytest
from rollout import policies

from tunesmith.core.types import SamplingParams
from tunesmith.rollout import LocalSampler

HOT = SamplingParams(max_tokens=30, temperature=1.5, top_k=0, seed=2)


@pytest.fixture
def sampler(model_folder):
    return policies.pair(model_folder("qwen3"))[1]


def test_any_of_several_stop_ids_ends_a_completion_and_stays_in_it(sampler):
    stops = {7, 11, 23, 42}
    several = LocalSampler(sampler.model, stops, policies.words)
    (free,) = policies.sample(LocalSampler(sampler.model, [], policies.words), (policies.prompt(9), HOT, 40))
    (found,) = policies.sample(several, (policies.prompt(9), HOT, 40))
    endings = set()
    for cut, whole in zip(found, free, strict=True):
        places = [i for i, t in enumerate(whole.tokens) if int(t) in stops]
        end = places[0] + 1 if places else HOT.max_tokens
        assert cut.tokens.tolist() == whole.tokens.tolist()[:end]
        assert cut.logprobs.tobytes() == whole.logprobs[:end].tobytes()
        assert cut.stop == ("stop" if places else "length")
        endings |= {int(cut.tokens[-1])} if places else set()
    assert len(endings) >= 3


def test_a_stop_text_ends_a_completion_and_stays_in_it(sampler):
    """Found across tokens: ' 1' may be all of ' 12', and '5 3' spans two."""
    (free,) = policies.sample(LocalSampler(sampler.model, [], policies.words), (policies.prompt(9), HOT, 30))
    texts = ("5 3", "9 4", "2 1")
    params = SamplingParams(HOT.max_tokens, HOT.temperature, 1.0, 0, texts, HOT.seed)
    (found,) = policies.sample(LocalSampler(sampler.model, [], policies.words), (policies.prompt(9), params, 30))
    stopped = 0
    for cut, whole in zip(found, free, strict=True):
        ends = [n for n in range(1, 31) if any(t in policies.words(whole.tokens[:n]) for t in texts)]
        end = ends[0] if ends else 30
        assert cut.tokens.tolist() == whole.tokens.tolist()[:end]
        assert cut.stop == ("stop" if ends else "length")
        stopped += bool(ends)
    assert 0 < stopped < 30


@pytest.mark.parametrize("max_tokens", [1, 2, 9])
def test_max_tokens(sampler, max_tokens):
    params = SamplingParams(max_tokens=max_tokens, temperature=0.4, seed=2)
    unstoppable = LocalSampler(sampler.model, [], policies.words)
    (found,) = policies.sample(unstoppable, (policies.prompt(9), params, 5))
    for c in found:
        assert (len(c.tokens), c.stop) == (max_tokens, "length")
        assert len(c.tokens) == len(c.logprobs) == len(c.sampling_logprobs)
        assert (c.tokens.dtype, c.logprobs.dtype, c.sampling_logprobs.dtype) == (np.int32, np.float32, np.float32)


def test_a_stop_id_as_the_last_allowed_token_is_a_stop(sampler):
    (free,) = policies.sample(sampler, (policies.prompt(9), HOT, 40))
    ended = next(c for c in free if c.stop == "stop" and len(c.tokens) > 1)
    exact = SamplingParams(len(ended.tokens), HOT.temperature, 1.0, 0, (), HOT.seed)
    (found,) = policies.sample(sampler, (policies.prompt(9), exact, 40))
    place = free.index(ended)
    assert (found[place].stop, found[place].tokens.tolist()) == ("stop", ended.tokens.tolist())
    shorter = SamplingParams(len(ended.tokens) - 1, HOT.temperature, 1.0, 0, (), HOT.seed)
    assert policies.sample(sampler, (policies.prompt(9), shorter, 40))[0][place].stop == "length"


def test_log_probabilities_are_natural_and_of_what_was_kept(sampler):
    """sampling_logprobs is never below logprobs, and equal to it where nothing was cut."""
    cut = SamplingParams(max_tokens=8, temperature=1.2, top_k=5, top_p=0.7, seed=1)
    whole = SamplingParams(max_tokens=8, temperature=1.2, top_k=0, top_p=1.0, seed=1)
    found, uncut = policies.sample(sampler, (policies.prompt(9), cut, 6), (policies.prompt(9), whole, 6))
    for c in found:
        assert (c.sampling_logprobs >= c.logprobs).all()
        assert (c.sampling_logprobs > c.logprobs + 1e-3).any()
    assert all((c.sampling_logprobs == c.logprobs).all() for c in uncut)
