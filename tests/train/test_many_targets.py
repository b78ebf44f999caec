"""Several targets per token: one row of logits scored for all, with what each alone would give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from train import sequences

from tunesmith.core.errors import UserError
from tunesmith.core.types import Datum, Norm
from tunesmith.losses import LOSSES
from tunesmith.spec import METHODS

NORM = Norm(30.0, 6.0)
LENGTHS = (9, 2, 12, 6)


def wide(num_targets: int = 3, lengths=LENGTHS) -> list[Datum]:
    """Random targets and weights of both signs; without a weight the first third, and every fifth number after it."""
    draw = np.random.default_rng(1)
    out = []
    for d in sequences.data(lengths):
        targets = draw.integers(0, sequences.VOCAB, (len(d.tokens), num_targets)).astype(np.int32)
        weights = draw.normal(size=targets.shape).astype(np.float32) * d.weights[:, None]
        weights.flat[::5] = 0
        out.append(Datum(d.tokens, targets, weights, temperature=d.temperature))
    return out


def column(data, k):
    """The data with target k of each token alone."""
    return [replace(d, targets=d.targets[:, k], weights=d.weights[:, k]) for d in data]


def step(trainer, *parts, **settings):
    """The gradient of several calls, and the log-probabilities of the last."""
    sequences.clear(trainer)
    for part in parts:
        metrics, scored = trainer.forward_backward(part, "cross_entropy", norm=NORM, **settings)
    return sequences.gradients(trainer), metrics, scored


@pytest.mark.parametrize(
    ("family", "rank", "head"), [("qwen3-bias", 4, True), ("qwen3-bias", 0, False), ("qwen3_moe", 4, False)]
)
def test_the_gradient_is_the_sum_over_targets(model_folder, family, rank, head):
    trainer, data = sequences.trainer(model_folder(family), rank, head=head), wide()
    together, metrics, scored = step(trainer, data)
    apart, _, _ = step(trainer, *(column(data, k) for k in range(3)))
    # Three gradients are added up in float32 on one side; with AVX-512 their roundings come to 1.5e-6.
    assert sequences.largest_difference(together, apart) < 3e-6
    everywhere = [trainer.forward(column(data, k), all_tokens=True) for k in range(3)]
    loss = 0.0
    for i, d in enumerate(data):
        expected = np.stack([lps[i] for lps in everywhere], 1)
        rows = (d.weights != 0).any(1)
        assert scored[i].shape == d.targets.shape and scored[i].dtype == np.float32
        assert np.abs(scored[i] - expected)[rows].max() < 1e-6
        assert not scored[i][~rows].any()
        loss -= float((expected.astype(np.float64) * d.weights).sum()) / NORM.tokens
    assert metrics["loss/cross_entropy"] == pytest.approx(loss, rel=1e-5)


def test_a_column_of_one_target_has_the_bits_of_a_plain_one(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3-bias"), head=True), sequences.data()
    tall = [replace(d, targets=d.targets[:, None], weights=d.weights[:, None]) for d in data]
    plain, metrics, scored = step(trainer, data)
    again, same, rescored = step(trainer, tall)
    assert metrics == same
    assert all(torch.equal(plain[n], again[n]) for n in plain)
    assert all(np.array_equal(a, b[:, 0]) for a, b in zip(scored, rescored, strict=True))


def test_data_of_different_width_share_a_pass(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"))
    mixed = [*sequences.data(LENGTHS), *wide(2), *wide(4, (5, 7))]
    together, _, scored = step(trainer, mixed)
    apart, _, _ = step(trainer, *([d] for d in mixed))
    assert sequences.largest_difference(together, apart) < 1e-6
    alone = [trainer.forward([d])[0] for d in mixed]
    for d, a, b in zip(mixed, scored, alone, strict=True):
        assert a.shape == b.shape == d.targets.shape
        assert np.abs(a - b).max() < 1e-6


def test_all_tokens_are_scored_where_asked(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), wide()
    some, _, scored = step(trainer, data)
    every, _, everywhere = step(trainer, data, all_tokens=True)
    assert sequences.largest_difference(some, every) < 1e-6
    for d, a, b, c in zip(data, scored, everywhere, trainer.forward(data, all_tokens=True), strict=True):
        rows = (d.weights != 0).any(1)
        assert b.all() and (len(rows) < 3 or not rows.all())
        assert np.abs(a - b)[rows].max() < 1e-6
        assert b.tobytes() == c.tobytes()


def test_a_custom_loss_sees_every_target(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), wide()

    def loss(data, logprobs):
        pairs = zip(data, logprobs, strict=True)
        return -sum((lp * torch.from_numpy(d.weights)).sum() for d, lp in pairs) / NORM.tokens, {}

    named, _, _ = step(trainer, data)
    sequences.clear(trainer)
    _, scored = trainer.forward_backward_custom(data, loss)
    assert sequences.largest_difference(sequences.gradients(trainer), named) < 1e-6
    assert [s.shape for s in scored] == [d.targets.shape for d in data]


def test_a_reply_of_one_token_after_its_prompt(model_folder):
    """The only weight is at the last token: what is laid out after it is a filler, which nothing sees."""
    trainer, data = sequences.trainer(model_folder("qwen3")), wide()
    late = [replace(d, weights=np.zeros_like(d.weights)) for d in data]
    for d in late:
        d.weights[-1] = 1
    for d, a in zip(late, trainer.forward(late), strict=True):
        expected = [trainer.forward(column([d], k))[0][-1] for k in range(3)]
        assert a[-1] == pytest.approx(expected, abs=1e-6)
        assert not a[:-1].any()


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "cross_entropy"])
def test_every_other_loss_refuses_them_by_name(model_folder, loss):
    trainer = sequences.trainer(model_folder("qwen3"))
    settings = {"cfg": METHODS["grpo"]} if loss == "policy" else {}
    data = sequences.data()
    data[3] = replace(data[3], targets=data[3].targets[:, None], weights=data[3].weights[:, None])
    with pytest.raises(UserError, match=rf"datum 3: targets have the shape \(6, 1\), and loss {loss} takes one"):
        trainer.forward_backward(data, loss, settings)
    assert all(t.grad is None for t in trainer.parameters.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.ones(12, np.float32)}, r"datum 2: weights have the shape \(12,\), targets \(12, 3\)"),
        ({"weights": np.ones((12, 2), np.float32)}, r"datum 2: weights have the shape \(12, 2\), targets \(12, 3\)"),
        ({"targets": np.ones((12, 0), np.int32)}, r"datum 2: targets have the shape \(12, 0\)"),
        ({"targets": np.ones((12, 1, 1), np.int32)}, r"datum 2: targets have the shape \(12, 1, 1\)"),
        ({"targets": np.ones((11, 3), np.int32)}, "datum 2: targets holds 11 numbers for 12 tokens"),
        ({"logprobs": np.ones((12, 3), np.float32)}, r"datum 2: logprobs has the shape \(12, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(model_folder, changes, message):
    trainer, data = sequences.trainer(model_folder("qwen3")), wide()
    data[2] = replace(data[2], **changes)
    for call in (lambda: trainer.forward(data), lambda: trainer.forward_backward(data, "cross_entropy")):
        with pytest.raises(UserError, match=message):
            call()
