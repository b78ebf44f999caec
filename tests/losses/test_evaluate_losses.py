"""``tunesmith.losses.evaluate``: plain numbers in, loss, gradients and metrics out."""

import math

import numpy as np
import pytest
from losses.packed import COLUMNS, random_batch

from tunesmith.core.errors import UserError
from tunesmith.core.types import Norm
from tunesmith.losses import LOSSES, evaluate, loss_named
from tunesmith.spec.loss import METHODS

GOOD = {"logprobs": [-1.0, -2.0], "old_logprobs": [-1.0, -2.0], "ref_logprobs": [-1.0, -2.0], "advantages": [1.0, 1.0]}
NAMES = [*METHODS, *(name for name in LOSSES if name != "policy")]


def lists(x):
    """A packed batch as the dicts that evaluate takes."""
    return [{c: getattr(x, c)[x.segment == i].tolist() for c in COLUMNS} for i in range(x.num_sequences)]


def test_a_worked_example():
    # ratios 2 and 1/2, A = 1: -(1.2 + 0.5) / 2 trained tokens; the third token has weight 0
    sequence = {
        "logprobs": [math.log(2) - 1, math.log(0.5) - 1, -7],
        "old_logprobs": [-1, -1, 0],
        "advantages": [1, 1, 1],
        "weights": [1, 1, 0],
    }
    found = evaluate("dapo", [sequence], clip_high=0.2)
    assert found["loss"] == pytest.approx(-0.85)
    assert found["gradients"] == [pytest.approx([0.0, -0.25, 0.0])]
    assert found["metrics"]["policy/clip_share"] == pytest.approx(0.5)
    assert set(found) == {"loss", "gradients", "metrics"}


@pytest.mark.parametrize("method", NAMES)
def test_it_is_the_loss_that_trains(method):
    # 21 tokens in 6 sequences; only methods and pairs divide by what was counted
    x = random_batch([5, 1, 4, 3, 2, 6])
    tokens = int((x.weights != 0).sum())
    if method in METHODS:
        loss, settings, norm = loss_named("policy"), {"cfg": METHODS[method]}, Norm(tokens, 6)
    else:
        loss, settings = loss_named(method), {}
        norm = Norm(tokens, 3) if method in ("dpo", "orpo") else Norm(1, 1)
    out = loss(x, norm, **settings)
    out.loss.backward()
    found = evaluate(method, lists(x))
    assert tokens < 21 and found["loss"] == pytest.approx(out.loss.item(), abs=1e-14)
    assert [g for row in found["gradients"] for g in row] == pytest.approx(x.logprobs.grad.tolist(), abs=1e-14)
    assert [len(row) for row in found["gradients"]] == [5, 1, 4, 3, 2, 6]
    assert found["metrics"] == pytest.approx({k: v.item() for k, v in out.metrics.items()})


@pytest.mark.parametrize("method", [name for name in NAMES if name not in ("cispo", "gspo", "gspo-token")])
def test_the_gradient_is_that_of_the_loss(method):
    # central differences, away from the stop-gradients that cispo, gspo and gspo-token put in on purpose
    rows, h = lists(random_batch([3, 2], seed=3)), 1e-6
    slopes = [[], []]
    for i, row in enumerate(rows):
        for t, lp in enumerate(row["logprobs"]):
            row["logprobs"][t] = lp + h
            above = evaluate(method, rows)["loss"]
            row["logprobs"][t] = lp - h
            slopes[i].append((above - evaluate(method, rows)["loss"]) / (2 * h))
            row["logprobs"][t] = lp
    found = evaluate(method, rows)["gradients"]
    assert found == [pytest.approx(row, abs=1e-7) for row in slopes]


@pytest.mark.parametrize(
    ("spelling", "name"), [("GRPO", "grpo"), ("GSPO_TOKEN", "gspo-token"), ("Cross-Entropy", "cross_entropy")]
)
def test_spelling_of_names_does_not_matter(spelling, name):
    assert evaluate(spelling, [GOOD]) == evaluate(name, [GOOD])


def test_a_sequence_without_trained_tokens_leaves_the_denominators():
    idle = {**GOOD, "weights": [0, 0]}
    alone, beside = evaluate("gspo-token", [GOOD]), evaluate("gspo-token", [idle, GOOD])
    assert alone["loss"] == beside["loss"] == -1
    assert beside["gradients"] == [[0.0, 0.0], alone["gradients"][0]]


def test_tokens_are_counted_whatever_their_weight():
    # two trained tokens, on policy: -(0.5 + 2) / 2
    assert evaluate("dapo", [{**GOOD, "weights": [0.5, 2.0]}])["loss"] == pytest.approx(-1.25)


def test_numpy_columns_are_taken_and_left_alone():
    row = {name: np.array(values, np.float32) for name, values in GOOD.items()}
    assert evaluate("grpo", [row]) == evaluate("grpo", [GOOD])
    assert row["logprobs"].tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        ({"kl_beta": 0.5}, {"kl_coef": 0.5}),
        ({"kl_beta": 0}, {}),
        ({"length_norm": True}, {"aggregate": "sequence-mean"}),
        ({"kl_estimator": "k3"}, {}),
    ],
)
def test_settings_of_a_job_are_fields_of_the_loss(settings, other):
    rows = lists(random_batch([5, 1, 4, 3, 2, 6]))
    assert evaluate("grpo", rows, **settings) == evaluate("grpo", rows, **other)


@pytest.mark.parametrize(
    "settings",
    [
        {"kl_coef": 0.5},
        {"kl_coef": 0.5, "kl_estimator": "k2"},
        {"aggregate": "sequence-mean"},
        {"clip_low": 0.01},
        {"clip_high": 0.01},
        {"ratio": "sequence"},
    ],
)
def test_every_setting_changes_something(settings):
    rows = lists(random_batch([5, 1, 4, 3, 2, 6]))
    without = {k: v for k, v in settings.items() if k != "kl_estimator"} if len(settings) > 1 else {}
    assert evaluate("grpo", rows, **settings)["loss"] != pytest.approx(evaluate("grpo", rows, **without)["loss"])


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("gropo", {}, "unknown 'gropo'. Did you mean 'grpo'.*Known: cispo, .*gspo-token"),
        ("dapo", {"kl_beta": 0.1}, "loss_config.kl_beta must be 0/unset when method is DAPO"),
        ("gspo-token", {"kl_beta": 0.1}, "loss_config.kl_beta must be 0/unset when method is GSPO_TOKEN"),
        ("grpo", {"clip_hi": 0.1}, "unknown 'clip_hi'. Did you mean 'clip_high'"),
        ("grpo", {"clip_low": 1.5}, "clip_low: .*less than or equal to 1 .got 1.5."),
        ("grpo", {"kl_beta": -1}, "kl_beta: .*greater than or equal to 0"),
        ("grpo", {"kl_beta": float("inf")}, "kl_beta: .*finite"),
        ("grpo", {"kl_estimator": "k4"}, "kl_estimator: .*k3_unbiased"),
        ("grpo", {"kl_beta": 0.1, "kl_coef": 0.1}, "set the same thing"),
        ("ppo", {"clip_high": 0.1}, "unknown 'clip_high'. Did you mean 'clip_high_threshold'"),
        ("policy", {}, "'cfg' is missing"),
    ],
)
def test_refused_settings(method, settings, message):
    with pytest.raises(UserError, match=message):
        evaluate(method, [GOOD], **settings)


def without(column):
    return {name: values for name, values in GOOD.items() if name != column}


@pytest.mark.parametrize(
    ("method", "bad", "message"),
    [
        ("grpo", without("logprobs"), r"sequences\[1\]: logprobs are missing"),
        ("grpo", without("old_logprobs"), r"sequences\[1\]: old_logprobs are missing"),
        ("grpo", without("ref_logprobs"), r"sequences\[1\]: ref_logprobs are missing"),
        ("dro", without("advantages"), r"sequences\[1\]: advantages are missing"),
        ("dpo", without("ref_logprobs"), r"sequences\[1\]: ref_logprobs are missing"),
        ("grpo", {**GOOD, "advantage": [1, 1]}, r"sequences\[1\]: unknown 'advantage'. Did you mean 'advantages'"),
        ("grpo", {**GOOD, "advantages": [1.0]}, r"sequences\[1\].advantages: 1 numbers for 2 logprobs"),
        ("grpo", {**GOOD, "weights": [1, 1, 1]}, r"sequences\[1\].weights: 3 numbers for 2 logprobs"),
        ("grpo", {**GOOD, "logprobs": [-1.0, math.nan]}, r"sequences\[1\].logprobs: nan at token 1"),
        ("grpo", {**GOOD, "ref_logprobs": [-math.inf, 0]}, r"sequences\[1\].ref_logprobs: -inf at token 0"),
        ("grpo", {**GOOD, "logprobs": []}, r"sequences\[1\].logprobs: not a list of numbers"),
        ("grpo", {**GOOD, "logprobs": [[-1.0, -2.0]]}, r"sequences\[1\].logprobs: not a list of numbers"),
        ("grpo", {**GOOD, "logprobs": [-1.0, "x"]}, r"sequences\[1\].logprobs: not a list of numbers"),
        ("grpo", {**GOOD, "advantages": 1.0}, r"sequences\[1\].advantages: not a list of numbers"),
        ("grpo", [-1.0, -2.0], r"sequences\[1\]: not a dict of columns"),
        (
            "ppo",
            {**GOOD, "clip_low": [0.8, 1.3]},
            r"sequences\[1\], token 1: clip_low_threshold 1.3 to .* 1.2 is",
        ),
        ("gspo", {**GOOD, "clip_high": [-0.1, 1]}, r"sequences\[1\], token 0: .* is no range of ratios"),
        ("gspo", {**GOOD, "ratio_mask": [1]}, r"sequences\[1\].ratio_mask: 1 numbers for 2 logprobs"),
        ("cispo", {**GOOD, "clip_low": [0.5, math.nan]}, r"sequences\[1\].clip_low: nan at token 1"),
        ("orpo", {**GOOD, "weights": [0, 0]}, r"sequences\[1\].weights: no token is trained"),
    ],
)
def test_refused_sequences_are_named(method, bad, message):
    with pytest.raises(UserError, match=message):
        evaluate(method, [GOOD, bad])


@pytest.mark.parametrize(
    ("method", "sequences", "message"),
    [
        ("grpo", [], "there are none"),
        ("grpo", [{**GOOD, "weights": [0, 0]}], r"sequences\[0\].weights: no token is trained"),
        ("cross_entropy", [{**GOOD, "weights": [0, 0]}], r"sequences\[0\].weights: no token is trained"),
        ("dpo", [GOOD] * 3, "3 sequences do not make pairs"),
    ],
)
def test_refused_batches(method, sequences, message):
    with pytest.raises(UserError, match=message):
        evaluate(method, sequences)


def test_columns_a_loss_does_not_read_may_be_left_out():
    assert evaluate("grpo", [without("ref_logprobs")], kl_coef=0)["loss"] == -1
    assert evaluate("cross_entropy", [{"logprobs": [-1.0, -2.0]}])["loss"] == 3
    # a column that only some sequences have is no reason to refuse, when nothing reads it
    assert evaluate("dapo", [GOOD, without("ref_logprobs")])["loss"] == -1
