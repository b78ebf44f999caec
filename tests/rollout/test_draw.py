"""One token from logits: by hand, and by frequencies over many streams."""

import math

import numpy as np
import pytest
import torch

from tunesmith.core.types import SamplingParams
from tunesmith.rollout.draw import Drawing, streams, uniforms

ROW = [0.1, 0.4, 0.05, 0.3, 0.15]
"""Probabilities of a vocabulary of five; from likeliest: 1 (0.4), 3 (0.3), 4 (0.15), 0 (0.1), 2 (0.05)."""


def drawn(uniform, temperature=1.0, top_k=0, top_p=1.0, row=ROW):
    uniform = [uniform] if isinstance(uniform, float) else uniform
    logits = torch.tensor([row] * len(uniform)).log()
    return draw(logits, [SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)] * len(uniform), uniform)


def draw(logits, params, uniform):
    drawing = Drawing(params, logits.shape[-1], logits.device)
    return drawing.draw(logits, torch.tensor(uniform, dtype=torch.float64))


@pytest.mark.parametrize(
    ("uniform", "token"),
    # in the order of the ids the mass grows 0.1, 0.5, 0.55, 0.85, 1
    [(0.0, 0), (0.0999, 0), (0.1001, 1), (0.4999, 1), (0.5001, 2), (0.5499, 2), (0.5501, 3), (0.8501, 4), (0.99999, 4)],
)
def test_the_inverse_of_the_cumulative_distribution(uniform, token):
    found = drawn(uniform)
    assert found.tokens.tolist() == [token]
    assert found.logprobs.item() == pytest.approx(math.log(ROW[token]), rel=1e-6)
    assert found.sampling_logprobs.item() == found.logprobs.item()


@pytest.mark.parametrize(
    ("uniform", "token"),
    # the three likeliest are 1, 3, 4 with 0.4, 0.3, 0.15 of 0.85
    [(0.0, 1), (0.4 / 0.85 - 1e-4, 1), (0.4 / 0.85 + 1e-4, 3), (0.7 / 0.85 - 1e-4, 3), (0.7 / 0.85 + 1e-4, 4)],
)
def test_top_k(uniform, token):
    found = drawn(uniform, top_k=3)
    assert found.tokens.tolist() == [token]
    assert found.logprobs.item() == pytest.approx(math.log(ROW[token]), rel=1e-6)
    assert found.sampling_logprobs.item() == pytest.approx(math.log(ROW[token] / 0.85), rel=1e-6)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    # the smallest set whose mass reaches top_p
    [
        (0.0, [1]),
        (0.05, [1]),
        (0.399, [1]),
        (0.41, [1, 3]),
        (0.699, [1, 3]),
        (0.71, [1, 3, 4]),
        (0.96, [1, 3, 4, 0, 2]),
    ],
)
def test_top_p(top_p, kept):
    found = drawn(np.linspace(0, 0.9999, 200).tolist(), top_p=top_p)
    mass = sum(ROW[t] for t in kept)
    assert set(found.tokens.tolist()) == set(kept)
    for token, sampling in zip(found.tokens.tolist(), found.sampling_logprobs.tolist(), strict=True):
        assert sampling == pytest.approx(math.log(ROW[token] / mass), abs=1e-6)


def test_entropies_are_of_the_whole_distribution_and_of_their_row_alone():
    # -sum p ln p of ROW: 0.23026 + 0.36652 + 0.14979 + 0.36119 + 0.28457 = 1.39233
    asked = SamplingParams(temperature=1.0, top_k=1, entropies=True)
    assert draw(torch.tensor([ROW]).log(), [asked], [0.5]).entropies.tolist() == [pytest.approx(1.392)]
    assert drawn(0.5).entropies is None
    sure = draw(torch.tensor([[0.0, -torch.inf]]), [asked], [0.5])
    assert sure.entropies.tolist() == [0]
    logits = torch.randn(40, 997, generator=torch.Generator().manual_seed(1))
    whole = draw(logits, [asked] * 40, [0.5] * 40).entropies
    assert whole.tolist() == [draw(logits[i : i + 1], [asked], [0.5]).entropies.item() for i in range(40)]


def test_top_k_comes_before_top_p():
    """top_k 3 leaves 1, 3, 4 with 0.471, 0.353, 0.176; top_p 0.8 of THAT is reached by 1 and 3 (0.824).

    The other way round, 0.8 of the whole is reached only by 1, 3 and 4 (0.85), and top_k 3 would keep them all.
    """
    both = drawn(np.linspace(0, 0.9999, 200).tolist(), top_k=3, top_p=0.8)
    assert set(both.tokens.tolist()) == {1, 3}
    assert set(drawn(np.linspace(0, 0.9999, 200).tolist(), top_p=0.8).tokens.tolist()) == {1, 3, 4}
    shares = dict(zip(both.tokens.tolist(), both.sampling_logprobs.tolist(), strict=True))
    assert shares == {1: pytest.approx(math.log(4 / 7), abs=1e-6), 3: pytest.approx(math.log(3 / 7), abs=1e-6)}


def test_temperature_comes_before_top_p():
    """At temperature 2 the likeliest token has sqrt(0.4) / 2.09 = 0.30 of the mass, and top_p 0.35 needs two."""
    roots = [math.sqrt(p) for p in ROW]
    found = drawn(np.linspace(0, 0.9999, 100).tolist(), temperature=2.0, top_p=0.35)
    assert set(found.tokens.tolist()) == {1, 3}
    for token, logprob in zip(found.tokens.tolist(), found.logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(math.log(roots[token] / sum(roots)), abs=1e-6)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999999])
def test_greedy_takes_the_likeliest_with_the_log_probability_of_temperature_1(uniform):
    found = drawn(uniform, temperature=0.0, top_k=4, top_p=0.9)
    assert found.tokens.tolist() == [1]
    assert found.logprobs.item() == pytest.approx(math.log(0.4), rel=1e-6)
    assert found.sampling_logprobs.item() == 0.0


def test_rows_with_other_settings_do_not_meet():
    """One batch of rows, each with settings of its own, gives what each gives alone."""
    settings = [
        (1.0, 0, 1.0, 0),
        (0.0, 0, 1.0, 3),
        (0.5, 2, 1.0, 0),
        (1.3, 0, 0.6, 7),
        (0.7, 3, 0.5, 3),
        (2.0, 5, 0.99, 0),
    ]
    params = [SamplingParams(temperature=t, top_k=k, top_p=p, top_logprobs=top) for t, k, p, top in settings]
    uniform = [0.2, 0.9, 0.65, 0.4, 0.7, 0.05]
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(2))
    together = draw(logits, params, uniform)
    assert list(together.likeliest) == [1, 4, 3]
    for i in range(6):
        alone = draw(logits[i : i + 1], params[i : i + 1], uniform[i : i + 1])
        assert alone.tokens.tolist() == together.tokens[i : i + 1].tolist()
        assert alone.logprobs.equal(together.logprobs[i : i + 1])
        assert alone.sampling_logprobs.equal(together.sampling_logprobs[i : i + 1])
        if i in together.likeliest:
            for own, other in zip(alone.likeliest[0], together.likeliest[i], strict=True):
                assert own.tobytes() == other.tobytes()


def test_the_likeliest_are_of_the_whole_vocabulary_at_the_temperature():
    """At temperature 2 the roots of ROW: 0.632, 0.548, 0.387, 0.316, 0.224, in all 2.107; top-k does not count."""
    params = SamplingParams(temperature=2.0, top_k=1, top_logprobs=3)
    found = draw(torch.tensor([ROW]).log(), [params], [0.5])
    ids, nats = found.likeliest[0]
    assert (ids.tolist(), ids.dtype, nats.dtype) == ([1, 3, 4], np.int32, np.float32)
    whole = sum(math.sqrt(p) for p in ROW)
    assert nats.tolist() == pytest.approx([math.log(math.sqrt(p) / whole) for p in (0.4, 0.3, 0.15)], abs=1e-6)
    assert nats[0] == found.logprobs.item()


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.6), (4, 0.8)])
def test_frequencies_over_many_streams(top_k, top_p):
    """Chi-square with at most 4 degrees of freedom: above 18.5 in one of 1000 honest draws; these seeds are fixed."""
    count = 20_000
    names = np.concatenate([streams(seed, np.array([0])) for seed in range(count)])
    found = drawn(uniforms(names, np.zeros(count, np.uint64)).tolist(), top_k=top_k, top_p=top_p)
    shares: dict[int, float] = {}
    for token, logprob in zip(found.tokens.tolist(), found.sampling_logprobs.tolist(), strict=True):
        shares[token] = math.exp(logprob)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    counts = {token: found.tokens.tolist().count(token) for token in shares}
    chi_square = sum((counts[t] - count * p) ** 2 / (count * p) for t, p in shares.items())
    assert chi_square < 18.5


def test_uniforms_are_uniform_and_independent_of_the_batch():
    names = np.concatenate([streams(seed, np.arange(8)) for seed in range(100)])
    assert len(set(names.tolist())) == 800
    table = np.stack([uniforms(names, np.full(800, i, np.uint64)) for i in range(50)])
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.mean() - 0.5) < 5 / math.sqrt(12 * table.size)
    bins = np.bincount((table * 20).astype(int).ravel(), minlength=20)
    assert ((bins - table.size / 20) ** 2 / (table.size / 20)).sum() < 43.8  # 19 degrees of freedom, one in 1000
    for lag in (1, 2, 8):  # neighbours in a stream, and the same place in neighbouring streams
        for a, b in ((table[:-lag], table[lag:]), (table[:, :-lag], table[:, lag:])):
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / math.sqrt(a.size)
    assert uniforms(names[3:4], np.array([7], np.uint64)) == table[7, 3]


def test_a_token_without_mass_is_never_drawn():
    row = [0.0, 0.5, 0.0, 0.5, 0.0]
    for settings in ({}, {"top_k": 4}, {"top_p": 0.99}):
        found = drawn(np.linspace(0, 1 - 2**-53, 50).tolist(), row=row, **settings)
        assert set(found.tokens.tolist()) == {1, 3}
