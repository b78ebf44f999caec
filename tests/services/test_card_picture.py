"""The card as a picture: its size, its curve, and names and commands that are too long for it."""

import io

import numpy as np
import pytest
from PIL import Image

from tunesmith.services.card_picture import CURVE, FACTS_AT, GOOD, HELD_OUT, SIZE, TRAIN, as_png

CARD = {
    "state": "COMPLETED",
    "steps": 9,
    "optimizer_updates": 9,
    "heldout_reward_before": 0.2,
    "heldout_reward_after": 0.8,
    "heldout_ci95": [0.4, 0.7],
    "findings": [],
    "reproduce": "tunesmith rft run --spec runs/a/spec.yaml --output-dir again",
}
CURVES = [{"step": s, "rollout/reward_mean": s / 10, "eval/reward_mean": s / 9} for s in range(10)]


def pixels(card, history, name="carry"):
    picture = Image.open(io.BytesIO(as_png(name, card, history)))
    assert (picture.size, picture.format) == (SIZE, "PNG")
    return np.asarray(picture)


def test_the_curve_climbs_from_corner_to_corner():
    left, top, right, bottom = CURVE
    colour = np.array([int(HELD_OUT[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = (np.abs(pixels(CARD, CURVES).astype(int) - colour).sum(-1) < 30)[top - 8 : bottom + 8]
    assert drawn[-12:, left - 4 : left + 4].any() and drawn[:12, right - 4 : right + 4].any()
    assert not drawn[:100, left : left + 100].any()


def test_a_single_step_has_its_dot_and_what_was_held_out_around_it():
    left, top, right, bottom = CURVE
    colours = [np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (HELD_OUT, TRAIN)]
    history = [{"step": 0, "eval/reward_mean": 0.2}, {"step": 1, "rollout/reward_mean": 0.5, "eval/reward_mean": 0.8}]
    picture, middle = pixels(CARD, history).astype(int), (top + bottom) // 2
    held_out, train = [np.abs(picture - colour).sum(-1) < 6 for colour in colours]
    assert held_out[top:bottom, left + 30 : right - 30].any(), "a line from before to after"
    assert train[middle - 5 : middle + 5, right - 5 : right + 5].any(), "a reward of a half, at the end"


@pytest.mark.parametrize(("low", "high"), [(0.0409, 0.0706), (-1.23e-5, 1.23e-5)])
def test_the_curve_s_numbers_and_the_facts_beside_it_do_not_touch(low, high):
    lost = {f"heldout_loss_{when}": value for when, value in (("before", high), ("after", low))}
    card = {**{k: v for k, v in CARD.items() if "held" not in k}, **lost, "tokens_trained": 6156}
    history = [{"step": s, "train/loss": high if s < 2 else low} for s in range(1, 4)]
    picture = pixels(card, history)
    _, top, right, bottom = CURVE
    assert (picture[top - 10 : bottom + 10, FACTS_AT - 6 : FACTS_AT - 1] == 255).all()
    assert (picture[top - 10 : top + 10, right + 8 : FACTS_AT] != 255).any(), "the number is there"


@pytest.mark.parametrize(
    "card",
    [
        {**CARD, "heldout_reward_before": None, "heldout_reward_after": None, "heldout_ci95": None},
        {**CARD, "heldout_ci95": None, "reproduce": "tunesmith fork " + "--long-flag value " * 40},
        {"heldout_loss_before": 2.0, "heldout_loss_after": 1.0, **{k: v for k, v in CARD.items() if "held" not in k}},
    ],
)
def test_whatever_is_missing_or_long_there_is_a_picture(card):
    assert (pixels(card, [], name="a name of a run that goes on and on " * 5) != 255).any()


@pytest.mark.parametrize(("interval", "green"), [([0.4, 0.7], True), ([-0.1, 0.7], False)])
def test_a_change_that_may_be_chance_is_not_green(interval, green):
    colour = np.array([int(GOOD[i : i + 2], 16) for i in (1, 3, 5)])
    picture = pixels({**CARD, "heldout_ci95": interval}, CURVES).astype(int)
    assert (np.abs(picture - colour).sum(-1) < 10).any() == green
