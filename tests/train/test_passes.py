"""How data is cut into passes, ordered and packed changes nothing but memory."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from train import sequences

from tunesmith.core.types import Norm
from tunesmith.losses import LOSSES
from tunesmith.spec import METHODS
from tunesmith.train import pack as packing

NORM = Norm(40.0, 8.0)
SETTINGS = {"policy": {"cfg": METHODS["grpo"]}}
MIXED = [*sequences.group(9, [4, 7, 1], seed=1), *sequences.data(), *sequences.group(30, [3, 2, 5], seed=2)]
"""Groups with a shared prompt between sequences of their own."""


def step(trainer, parts, loss="policy", settings=None):
    """The gradient of several calls, and their log-probabilities in order."""
    sequences.clear(trainer)
    scored = []
    for part in parts:
        scored += trainer.forward_backward(part, loss, SETTINGS.get(loss) if settings is None else settings, NORM)[1]
    return sequences.gradients(trainer), scored


@pytest.mark.parametrize(
    ("family", "loss"),
    [("qwen3", "policy"), ("qwen3", "dpo"), ("mistral-window", "cross_entropy"), ("qwen3_moe", "policy")],
)
def test_any_budget_gives_the_same_gradient(model_folder, family, loss):
    whole, scored = step(sequences.trainer(model_folder(family), budget=10_000), [MIXED], loss)
    for budget in (1, 45):
        parts, again = step(sequences.trainer(model_folder(family), budget=budget), [MIXED], loss)
        assert sequences.largest_difference(parts, whole) < 1e-6
        assert all(np.abs(a - b).max() < 1e-6 for a, b in zip(again, scored, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_any_split_into_calls_gives_the_same_gradient(model_folder, method):
    trainer = sequences.trainer(model_folder("qwen3"))
    settings = {"cfg": METHODS[method]}
    whole, scored = step(trainer, [MIXED], "policy", settings)
    for cuts in ([0, 1, 12], [0, 3, 4, 9, 12], list(range(13))):
        parts, again = step(trainer, [MIXED[i:j] for i, j in pairwise(cuts)], "policy", settings)
        assert sequences.largest_difference(parts, whole) < 1e-6
        assert all(np.abs(a - b).max() < 1e-6 for a, b in zip(again, scored, strict=True))


@pytest.mark.parametrize("loss", [n for n in LOSSES if n not in ("dpo", "orpo")])
def test_any_order_gives_the_same_gradient(model_folder, loss):
    trainer = sequences.trainer(model_folder("qwen3"))
    forward, scored = step(trainer, [MIXED], loss)
    order = np.random.default_rng(3).permutation(len(MIXED))
    shuffled, again = step(trainer, [[MIXED[i] for i in order]], loss)
    assert sequences.largest_difference(shuffled, forward) < 1e-6
    assert all(np.abs(again[k] - scored[i]).max() < 1e-6 for k, i in enumerate(order))


@pytest.mark.parametrize("family", ["qwen3", "mistral-window", "qwen2-window"])
@pytest.mark.parametrize("head", [False, True])
def test_a_shared_prompt_encoded_once_gives_what_encoding_it_each_time_gives(model_folder, monkeypatch, family, head):
    folder = model_folder(family if not head else f"{family}-bias" if family == "qwen3" else family)
    data = sequences.group(21, [5, 9, 1, 6])
    trainer = sequences.trainer(folder, head=head)
    shared, scored = step(trainer, [data])
    monkeypatch.setattr(packing, "_shared", lambda data: [0] * len(data))
    apart, again = step(trainer, [data])
    assert sequences.largest_difference(shared, apart) < 1e-6
    assert all(np.abs(a - b).max() < 1e-6 for a, b in zip(again, scored, strict=True))


def test_a_group_is_packed_in_its_own_tokens_and_one_prompt():
    data = sequences.group(50, [10, 20, 5])
    # 50 of the prompt once; each reply feeds all its tokens but the last: 9 + 19 + 4
    assert len(packing.pack(data, torch.device("cpu")).tokens) == 50 + 9 + 19 + 4
    assert packing.passes(data, 32) == [[0, 1, 2]]
    # 9 + 19 = 28 beside the prompt that the pass begins with, and 4 more are too many
    assert packing.passes(data, 28) == [[0, 1], [2]]
    assert packing.passes(data, 18) == [[0], [1], [2]]


def test_the_prompt_of_a_later_group_counts():
    first, second = sequences.group(50, [10, 20], seed=1), sequences.group(40, [5, 5], seed=2)
    # 9 + 19 beside the first prompt, then 40 + 4, then 4
    assert packing.passes([*first, *second], 76) == [[0, 1, 2, 3]]
    assert packing.passes([*first, *second], 75) == [[0, 1, 2], [3]]
    assert packing.passes([*first, *second], 71) == [[0, 1], [2, 3]]


def test_a_reply_of_one_token_stays_with_its_group():
    data = sequences.group(50, [10, 1, 20, 1])
    # it feeds no token of its own, and is laid out with the one that it is
    assert len(packing.pack(data, torch.device("cpu")).tokens) == 50 + 9 + 1 + 19 + 1
    assert packing.passes(data, 30) == [[0, 1, 2, 3]]
    assert [len(p) for p in packing.pack(data, torch.device("cpu")).places] == [10, 1, 20, 1]


def test_pairs_are_never_parted():
    data = sequences.data([10, 10, 10, 10])
    assert packing.passes(data, 15, unit=2) == [[0, 1], [2, 3]]
    assert packing.passes(data, 15) == [[0], [1], [2], [3]]
    assert packing.passes(data, 30, unit=2) == [[0, 1], [2, 3]]
    assert packing.passes(data, 40, unit=2) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("family", ["qwen3", "mistral-window", "qwen3_moe"])
def test_forward_gives_the_log_probabilities_that_training_gives(model_folder, family):
    """To the bit: the same packing, the same sums."""
    trainer = sequences.trainer(model_folder(family))
    _, trained = step(trainer, [MIXED])
    alone = trainer.forward(MIXED)
    everywhere = trainer.forward(MIXED, all_tokens=True)
    for d, a, b, c in zip(MIXED, trained, alone, everywhere, strict=True):
        assert a.tobytes() == b.tobytes()
        assert (a[d.weights == 0] == 0).all() and (c != 0).all()
        assert np.abs(a - c)[d.weights != 0].max() < 1e-6


def test_forward_leaves_no_gradient(model_folder):
    trainer = sequences.trainer(model_folder("qwen3"))
    trainer.forward(MIXED)
    assert all(t.grad is None for t in trainer.parameters.values())


@pytest.mark.parametrize("temperature", [0.1, 0.7, 2.0])
def test_log_probabilities_are_those_of_the_datums_temperature(model_folder, temperature):
    trainer = sequences.trainer(model_folder("qwen3"))
    data = sequences.data(temperature=1.0)
    model, adapter = trainer.policy.model, trainer.policy.adapter
    for d, found in zip(data, trainer.forward(sequences.data(temperature=temperature), all_tokens=True), strict=True):
        logits = sequences.tiny.logits(model, torch.from_numpy(d.tokens).long(), adapter)
        expected = (
            (logits.double() / temperature).log_softmax(-1).gather(1, torch.from_numpy(d.targets)[:, None].long())
        )
        assert found == pytest.approx(expected[:, 0].numpy(), rel=1e-5, abs=1e-5)


def test_a_pass_that_does_not_fit_into_memory_is_split(model_folder, monkeypatch):
    """An out-of-memory in any pass halves it and adds each gradient exactly once."""
    trainer = sequences.trainer(model_folder("qwen3"))
    expected, _ = step(trainer, [MIXED])
    fits = trainer.policy.logprobs

    def small_device(p, reference=False):
        if len(p.places) > 2:
            raise torch.OutOfMemoryError("no memory left")
        return fits(p, reference)

    monkeypatch.setattr(trainer.policy, "logprobs", small_device)
    sequences.clear(trainer)
    metrics, _ = trainer.forward_backward(MIXED, "policy", SETTINGS["policy"], NORM)
    assert metrics["train/oom_splits"] > 0
    assert sequences.largest_difference(sequences.gradients(trainer), expected) < 1e-6
