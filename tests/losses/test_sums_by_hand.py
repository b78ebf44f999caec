"""The losses of the Training API against plain Python, one token at a time: values and gradients in float64."""

import math

import numpy as np
import pytest

from tunesmith.losses import CLIPPED, evaluate

NAMES = ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo"]


def rows(seed: int = 0, num: int = 8) -> list[dict[str, list[float]]]:
    """Sequences with weights of both signs and 0, and ratios from about 0.4 to 2.5."""
    draw = np.random.default_rng(seed)
    out = []
    for length in draw.integers(1, 9, num).tolist():
        old = -draw.exponential(1.0, length) - 0.1
        weights = np.where(draw.random(length) < 0.2, 0, draw.normal(0, 2, length))
        weights[0] = -1.5
        columns = {
            "logprobs": old + draw.normal(0, 0.4, length),
            "old_logprobs": old,
            "advantages": draw.normal(0, 1, length),
            "weights": weights,
        }
        out.append({name: column.tolist() for name, column in columns.items()})
    return out


def thresholds(sequences, *columns: str, every: int = 1):
    """The sequences, each ``every``-th with thresholds of its own."""
    draw = np.random.default_rng(7)
    bounds = {"clip_low": (0.5, 1.0), "clip_high": (1.0, 1.5)}
    return [
        row | {c: draw.uniform(*bounds[c], len(row["weights"])).tolist() for c in columns} if i % every == 0 else row
        for i, row in enumerate(sequences)
    ]


def masked(sequences):
    draw = np.random.default_rng(8)
    return [row | {"ratio_mask": (draw.random(len(row["weights"])) < 0.6).astype(float).tolist()} for row in sequences]


DATA = {
    "plain": rows(),
    "own thresholds": thresholds(rows(1), "clip_low", "clip_high"),
    "some with thresholds": thresholds(rows(2), "clip_low", "clip_high", every=3),
    "one side": thresholds(rows(3), "clip_high", every=2),
    "a mask": masked(rows(4)),
    "a mask for some, thresholds for others": masked(rows(5))[:4] + thresholds(rows(6), "clip_low")[:4],
}
NOTHING_MORE = {name: sum(1 for row in data if len(row) > 4) for name, data in DATA.items()}


def by_hand(name, sequences, low=0.8, high=1.2, beta=0.05):
    """(loss, d loss / d logprobs per sequence)."""
    total, gradients = 0.0, []
    for row in sequences:
        mask = row.get("ratio_mask", [float(w != 0) for w in row["weights"]])
        steps = [p - q for p, q, m in zip(row["logprobs"], row["old_logprobs"], mask, strict=True) if m]
        sequence_ratio = math.exp(sum(steps) / len(steps)) if steps else 1.0
        slopes = []
        for t, (p, q, a, w) in enumerate(
            zip(row["logprobs"], row["old_logprobs"], row["advantages"], row["weights"], strict=True)
        ):
            lowest, highest = row.get("clip_low", [low] * 99)[t], row.get("clip_high", [high] * 99)[t]
            r = sequence_ratio if name == "gspo" else math.exp(p - q)
            cut = min(max(r, lowest), highest)
            value, slope = {
                "cross_entropy": (-p, -1.0),
                "importance_sampling": (-r * a, -r * a),
                "ppo": (-min(r * a, cut * a), -r * a if r * a <= cut * a else 0.0),
                "gspo": (-min(r * a, cut * a), -r * a if r * a <= cut * a else 0.0),
                "cispo": (-cut * a * p, -cut * a),
                "dro": (beta / 2 * (p - q) ** 2 - p * a, beta * (p - q) - a),
            }[name]
            total += w * value
            slopes.append(w * slope)
        gradients.append(slopes)
    return total, gradients


def test_the_data_say_what_they_are_called():
    assert NOTHING_MORE == {
        "plain": 0,
        "own thresholds": 8,
        "some with thresholds": 3,
        "one side": 4,
        "a mask": 8,
        "a mask for some, thresholds for others": 8,
    }


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(name, data):
    value, gradients = by_hand(name, DATA[data])
    found = evaluate(name, DATA[data])
    assert found["loss"] == pytest.approx(value, abs=1e-12)
    assert found["gradients"] == [pytest.approx(row, abs=1e-12) for row in gradients]


@pytest.mark.parametrize(("name", "settings"), [*((n, (0.97, 1.02)) for n in sorted(CLIPPED)), ("dro", (0.01,))])
def test_settings(name, settings):
    names = ("clip_low_threshold", "clip_high_threshold") if name in CLIPPED else ("beta",)
    given = dict(zip(names, settings, strict=True))
    by = {"low": settings[0], "high": settings[1]} if name in CLIPPED else {"beta": settings[0]}
    for data in ("plain", "some with thresholds"):
        value, gradients = by_hand(name, DATA[data], **by)
        found = evaluate(name, DATA[data], **given)
        assert found["loss"] == pytest.approx(value, abs=1e-12)
        assert found["gradients"] == [pytest.approx(row, abs=1e-12) for row in gradients]
        assert found["loss"] != pytest.approx(evaluate(name, DATA[data])["loss"])


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", NAMES)
def test_eight_sequences_are_two_times_four(name, data):
    whole = evaluate(name, DATA[data])
    first, second = evaluate(name, DATA[data][:4]), evaluate(name, DATA[data][4:])
    assert first["loss"] + second["loss"] == pytest.approx(whole["loss"], abs=1e-12)
    assert first["gradients"] + second["gradients"] == [pytest.approx(row, abs=1e-14) for row in whole["gradients"]]


@pytest.mark.parametrize("name", NAMES)
def test_which_columns_change_a_loss(name):
    """Thresholds what clips, the mask gspo, and neither anything else."""
    plain = evaluate(name, rows())
    assert (evaluate(name, thresholds(rows(), "clip_low", "clip_high")) != plain) == (name in CLIPPED)
    assert (evaluate(name, masked(rows())) != plain) == (name == "gspo")
