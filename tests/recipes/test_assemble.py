"""Groups to training data: advantages by hand, who is dropped and why, and how an update is cut."""

import math
from dataclasses import replace

import numpy as np
import pytest
from services.made_runs import group, rollout, segment

from tunesmith.core.types import Group, Norm, Rollout, Score
from tunesmith.recipes.assemble import assemble, norm_of, updates, with_reference

SAME = "all attempts of the group score the same"
FEW = "fewer than two graded attempts in the group"


def advantages(*rewards, clip=None):
    return [a for a, _ in assemble([group("p", rewards)], clip).judged[0]]


def test_advantages_by_hand():
    # mean 2, sample variance (1 + 0 + 1) / 2 = 1
    assert advantages(1.0, 2.0, 3.0) == pytest.approx([-1, 0, 1], abs=1e-7)
    # mean 0.25, sample variance (3 x 0.0625 + 0.5625) / 3 = 0.25, spread 0.5
    assert advantages(0.0, 0.0, 0.0, 1.0) == pytest.approx([-0.5, -0.5, -0.5, 1.5], abs=1e-6)
    assert advantages(5.0, 7.0) == pytest.approx([-1 / math.sqrt(2), 1 / math.sqrt(2)], abs=1e-6)


def test_a_tiny_spread_is_held_by_the_1e_8():
    # spread 1e-8 / sqrt(2) + 1e-8, distance from the mean 0.5e-8
    assert advantages(0.0, 1e-8) == pytest.approx(
        [-0.5 / (1 / math.sqrt(2) + 1), 0.5 / (1 / math.sqrt(2) + 1)], rel=1e-6
    )


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3, -7.3])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_groups_without_variance_are_dropped(reward, count):
    """Eight times 0.1: summed in floating point their deviation from the mean is not 0, and noise would be trained."""
    found = assemble([group("p", [reward] * count)])
    assert found.data == []
    assert found.judged == [[(None, SAME)] * count]


def test_failures_leave_their_group():
    found = assemble([group("p", [1.0, None, 3.0, 2.0])])
    assert found.judged[0][1] == (None, "grading failed")
    assert [a for a, _ in found.judged[0] if a is not None] == pytest.approx([-1, 1, 0], abs=1e-7)
    assert [d.targets[-1] for d in found.data] == [10, 12, 13]


@pytest.mark.parametrize(("rewards", "why"), [([1.0, None, None], FEW), ([1.0, None, 1.0], SAME), ([None, None], FEW)])
def test_a_group_that_failures_leave_without_signal_is_dropped(rewards, why):
    found = assemble([group("p", rewards)])
    assert found.data == []
    assert found.judged[0] == [(None, "grading failed" if r is None else why) for r in rewards]


def test_other_groups_are_not_touched_by_a_dropped_one():
    a, b, c = group("a", [0.0, 1.0]), group("b", [1.0, 1.0]), group("c", [2.0, 4.0])
    found = assemble([a, b, c])
    assert len(found.data) == 4
    assert [[dropped for _, dropped in verdicts] for verdicts in found.judged] == [["", ""], [SAME, SAME], ["", ""]]
    alone = assemble([c])
    assert [d.advantages.tolist() for d in found.data[2:]] == [d.advantages.tolist() for d in alone.data]


def test_the_clip_is_symmetric_and_off_by_default():
    rewards = [0.0] * 15 + [16.0]
    assert max(advantages(*rewards)) == pytest.approx(3.75, abs=1e-6)  # mean 1, sample variance (15 + 225) / 15 = 16
    assert advantages(*rewards, clip=2.0) == pytest.approx([-0.25] * 15 + [2.0], abs=1e-6)
    assert advantages(*[-r for r in rewards], clip=2.0) == pytest.approx([0.25] * 15 + [-2.0], abs=1e-6)


def test_the_shift_by_one_token():
    """Prompt 1 2, reply 8 9 -> input 1 2 8, targets 2 8 9; only the reply is trained, with the group's advantage."""
    better, worse = rollout([8, 9], 1.0), rollout([5], 0.0)
    d = assemble([Group("p", {}, (better, worse))]).data[0]
    a = 1 / math.sqrt(2)
    assert (d.tokens.tolist(), d.targets.tolist(), d.weights.tolist()) == ([1, 2, 8], [2, 8, 9], [0, 1, 1])
    assert d.logprobs.tolist() == [0, -0.5, -0.5]
    assert d.advantages.tolist() == pytest.approx([0, a, a], abs=1e-6)
    assert (d.temperature, d.ref_logprobs) == (0.7, None)
    assert all(column.dtype == np.float32 for column in (d.weights, d.logprobs, d.advantages))


def test_several_segments_of_a_rollout_have_its_advantage():
    two = Rollout((segment([1], [2, 3]), segment([4, 5], [6])), "t", 0, "stop", Score(1.0))
    found = assemble([Group("p", {}, (two, rollout([7], 0.0)))])
    assert [d.tokens.tolist() for d in found.data] == [[1, 2], [4, 5], [1, 2]]
    assert [d.advantages.max() for d in found.data[:2]] == pytest.approx([1 / math.sqrt(2)] * 2, abs=1e-6)
    assert len(found.judged[0]) == 2


def sequences(*lengths):
    return [
        replace(d, tokens=d.tokens[:1].repeat(n - 1)) for n in lengths for d in assemble([group("p", [0, 1])]).data[:1]
    ]


@pytest.mark.parametrize(
    ("lengths", "size", "accumulation", "expected"),
    [
        ([3, 3, 3, 3], 6, 1, [[[3, 3]], [[3, 3]]]),
        ([3, 3, 3, 3], 6, 2, [[[3, 3], [3, 3]]]),
        ([3, 3, 3], 6, 4, [[[3, 3], [3]]]),  # the last update has what is left
        ([3, 3, 3], 7, 1, [[[3, 3]], [[3]]]),
        ([9, 2, 9], 5, 1, [[[9]], [[2]], [[9]]]),  # one that is too long by itself is a pass of its own
        ([2, 2, 2], 100, 3, [[[2, 2, 2]]]),
        ([8192] * 8, 65536, 1, [[[8192] * 8]]),  # 64k holds 8 sequences of 8k
        ([8192] * 9, 65536, 1, [[[8192] * 8], [[8192]]]),
    ],
)
def test_updates(lengths, size, accumulation, expected):
    found = updates(sequences(*lengths), size, accumulation)
    assert [[[len(d.tokens) + 1 for d in batch] for batch in update] for update in found] == expected


def test_updates_keep_the_order():
    data = assemble([group("a", [0.0, 1.0, 2.0]), group("b", [0.0, 1.0])]).data
    assert [d for update in updates(data, 4, 1) for batch in update for d in batch] == data


def test_the_norm_counts_what_is_trained_in_an_update():
    data = [*assemble([Group("p", {}, (rollout([8, 9, 10], 1.0), rollout([5], 0.0)))]).data]
    assert norm_of([data[:1], data[1:]]) == Norm(4.0, 2.0)
    silent = replace(data[0], weights=data[0].weights * 0)
    assert norm_of([[silent, data[1]]]) == Norm(1.0, 1.0)


def test_with_reference():
    data = assemble([group("p", [0.0, 1.0])]).data
    found = with_reference(data, [np.full(2, -3.0, np.float32)] * 2)
    assert [d.ref_logprobs.tolist() for d in found] == [[-3, -3]] * 2
    with pytest.raises(ValueError, match="shorter"):
        with_reference(data, [])
