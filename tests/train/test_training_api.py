"""What the Training API promises beyond a job: every token's log-probability, batches without weights, any split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from train import sequences

from tunesmith.core.errors import UserError
from tunesmith.core.types import AdamParams
from tunesmith.losses import CLIPPED, LOSSES
from tunesmith.spec import METHODS

SUMS = ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo"]
ADAM = AdamParams(1e-2, weight_decay=0.0)


def settings(loss):
    return {"cfg": METHODS["grpo"]} if loss == "policy" else {}


def near(trainer, lengths=(9, 4, 12, 6, 2, 7, 5, 8)):
    """Eight sequences with ratios of 0.6 to 1.5, weights of both signs, thresholds and masks in some of them."""
    draw, out = np.random.default_rng(5), []
    data = sequences.data(lengths)
    for i, (d, lp) in enumerate(zip(data, trainer.forward(data), strict=True)):
        d = replace(d, logprobs=lp + (draw.uniform(-0.4, 0.4, len(lp)) * (d.weights != 0)).astype(np.float32))
        d = replace(d, weights=d.weights * np.float32(draw.normal()))
        if i % 3 == 0:
            low, high = draw.uniform(0.7, 1, len(lp)), draw.uniform(1, 1.3, len(lp))
            d = replace(d, clip_low=low.astype(np.float32), clip_high=high.astype(np.float32))
        if i % 4 == 1:
            d = replace(d, ratio_mask=(draw.random(len(lp)) < 0.5).astype(np.float32))
        out.append(d)
    return out


def gradient(trainer, parts, loss, **more):
    sequences.clear(trainer)
    metrics = [trainer.forward_backward(part, loss, settings(loss), **more)[0] for part in parts]
    return sequences.gradients(trainer), sum(m[f"loss/{loss}"] for m in metrics)


def kept(trainer):
    return {n: t.detach().clone() for n, t in trainer.parameters.items()}


@pytest.mark.parametrize("loss", SUMS)
def test_eight_sequences_are_two_times_four(model_folder, loss):
    trainer = sequences.trainer(model_folder("qwen3"))
    data = near(trainer)
    whole, value = gradient(trainer, [data], loss)
    halves, total = gradient(trainer, [data[:4], data[4:]], loss)
    assert sequences.largest_difference(whole, halves) < 1e-6
    assert total == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("loss", SUMS)
def test_thresholds_and_masks_reach_the_loss(model_folder, loss):
    trainer = sequences.trainer(model_folder("qwen3"))
    data = near(trainer)
    own, _ = gradient(trainer, [data], loss)
    for columns, readers in ((("clip_low", "clip_high"), CLIPPED), (("ratio_mask",), {"gspo"})):
        without, _ = gradient(trainer, [[sequences.without(d, *columns) for d in data]], loss)
        assert (sequences.largest_difference(own, without) > 1e-4) == (loss in readers)


@pytest.mark.parametrize("loss", sorted(CLIPPED))
def test_thresholds_of_every_token_are_those_of_the_settings(model_folder, loss):
    trainer = sequences.trainer(model_folder("qwen3"))
    data = [sequences.without(d, "clip_low", "clip_high") for d in near(trainer)]
    trainer.forward_backward(data, loss, {"clip_low_threshold": 0.9, "clip_high_threshold": 1.05})
    expected = sequences.gradients(trainer)
    for every in (1, 2):
        sequences.clear(trainer)
        own = [
            replace(d, clip_low=np.full_like(d.weights, 0.9), clip_high=np.full_like(d.weights, 1.05))
            if i % every == 0
            else d
            for i, d in enumerate(data)
        ]
        rest = {} if every == 1 else {"clip_low_threshold": 0.9, "clip_high_threshold": 1.05}
        trainer.forward_backward(own, loss, rest)
        assert sequences.largest_difference(sequences.gradients(trainer), expected) < 1e-7


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"clip_low": 1.3}, {}, "datum 1, token 2: clip_low_threshold 1.3 to clip_high_threshold 1.2 is no range"),
        ({"clip_low": 1.3}, {"clip_high_threshold": 2.0}, None),
        ({"clip_high": 0.5}, {}, "datum 1, token 2: clip_low_threshold 0.8 to clip_high_threshold 0.5 is no range"),
        ({"clip_low": -0.1}, {}, "datum 1, token 2: clip_low_threshold -0.1 to"),
        (
            {"clip_low": 1.1, "clip_high": 1.0},
            {},
            "datum 1, token 2: clip_low_threshold 1.1 to clip_high_threshold 1 is",
        ),
        ({"clip_high": np.nan}, {}, "datum 1: clip_high holds a number that is not finite"),
        ({"ratio_mask": np.inf}, {}, "datum 1: ratio_mask holds a number that is not finite"),
        (
            {},
            {"clip_low_threshold": 1.3},
            "^loss {loss}: clip_low_threshold 1.3 to clip_high_threshold 1.2 is no range",
        ),
        ({"clip_low": 0.5}, {"clip_low_threshold": "0.8"}, "clip_low_threshold: must be a finite number"),
    ],
)
@pytest.mark.parametrize("loss", sorted(CLIPPED))
def test_thresholds_that_are_no_range(model_folder, loss, changes, given, message):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    columns = {name: np.ones(4, np.float32) for name in changes}
    for name, value in changes.items():
        columns[name][2] = value
    data[1] = replace(data[1], **columns)
    if message is None:
        trainer.forward_backward(data, loss, given)
        return
    with pytest.raises(UserError, match=message.format(loss=loss)):
        trainer.forward_backward(data, loss, given)
    assert all(t.grad is None for t in trainer.parameters.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_token_is_scored_and_the_gradient_stays(model_folder, loss):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    some, value = gradient(trainer, [data], loss)
    sequences.clear(trainer)
    metrics, scored = trainer.forward_backward(data, loss, settings(loss), all_tokens=True)
    assert metrics[f"loss/{loss}"] == pytest.approx(value, rel=1e-5)
    assert sequences.largest_difference(sequences.gradients(trainer), some) < 1e-6
    for a, b in zip(scored, trainer.forward(data, all_tokens=True), strict=True):
        assert a.all() and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_a_batch_without_weights_adds_nothing(model_folder, family, loss):
    trainer = sequences.trainer(model_folder(family))
    idle = [replace(d, weights=d.weights * 0) for d in sequences.data()]
    _, scored = trainer.forward_backward(idle, loss, settings(loss), all_tokens=True)
    assert all(s.all() for s in scored)
    assert not any(g.any() for g in sequences.gradients(trainer).values())
    before = kept(trainer)
    assert trainer.optim_step(ADAM)["optim/grad_norm"] == 0
    assert all(torch.equal(t, before[n]) for n, t in trainer.parameters.items())
    assert trainer.version == 1
    with pytest.raises(UserError, match="no token has a weight"):
        trainer.forward_backward(idle, loss, settings(loss))
    with pytest.raises(UserError, match="no token has a weight"):
        trainer.forward_backward([], loss, settings(loss), all_tokens=True)


def test_momentum_goes_on_without_a_gradient(model_folder):
    trainer, data = sequences.trainer(model_folder("qwen3")), sequences.data()
    trainer.forward_backward(data, "cross_entropy")
    trainer.optim_step(ADAM)
    before = kept(trainer)
    trainer.forward_backward([replace(d, weights=d.weights * 0) for d in data], "cross_entropy", all_tokens=True)
    assert trainer.optim_step(ADAM)["optim/grad_norm"] == 0
    assert any(not torch.equal(t, before[n]) for n, t in trainer.parameters.items())


def test_masked_tokens_without_weight_are_scored(model_folder):
    """A ratio over a whole reply of which one token is trained."""
    trainer, (d, *_) = sequences.trainer(model_folder("qwen3")), sequences.data()
    (lp,) = trainer.forward([d], all_tokens=True)
    reply = d.weights.copy()
    last = np.where(np.arange(len(reply)) == len(reply) - 1, 1, 0).astype(np.float32)
    old = (lp + np.where(reply != 0, 0.1, 0)).astype(np.float32)
    old[-1] = lp[-1] + 0.1 - 1.0
    d = replace(d, weights=last, logprobs=old, advantages=last, ratio_mask=reply)
    metrics, scored = trainer.forward_backward([d], "gspo", {"clip_low_threshold": 0.1, "clip_high_threshold": 9})
    # all of the reply are at -0.1 but the last, which is at 0.9
    count = int(reply.sum())
    assert metrics["loss/gspo"] == pytest.approx(-np.exp(-0.1 + 1.0 / count), rel=1e-5)
    assert (scored[0] != 0).tolist() == (reply != 0).tolist()
