"""Numbers about attempts that the health rules read, each worked by hand."""

import numpy as np
import pytest

from tunesmith.core.types import Datum, Group, Rollout, Score, Segment
from tunesmith.recipes.measure import BARS, describe, step_kl


def attempt(text, reward=0.0, parts=None):
    segment = Segment(np.array([1, 2], np.int32), np.array([False, True]), np.array([0, -1], np.float32))
    return Rollout((segment,), text, 0, "stop", Score(reward, parts or {}))


def group(*attempts):
    return Group("p", {}, attempts)


def test_the_histogram_of_pass_rates_has_each_group_in_one_bar():
    passed = [0, 1, 2, 3, 4, 6, 7, 8]  # of 8: none, few, few (1/4), half, half, most (3/4), most, all
    groups = [group(*[attempt(str(i), float(i < k)) for i in range(8)]) for k in passed]
    found = describe(groups, "rollout")
    assert [found[f"rollout/pass_{bar}"] * 8 for bar in BARS] == [1, 2, 2, 2, 1]


def test_equal_texts_with_unequal_rewards_are_a_judge_with_moods():
    steady = group(attempt("a", 1), attempt("a", 1), attempt("b", 0))
    moody = group(attempt("a", 1), attempt("a", 0), attempt("b", 0), attempt("b", 0))
    assert describe([steady], "rollout")["rollout/unstable_share"] == 0
    assert describe([steady, moody], "rollout")["rollout/unstable_share"] == pytest.approx(1 / 3)
    assert "rollout/unstable_share" not in describe([group(attempt("a"), attempt("b"))], "rollout")


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        (["yes yes no", "yes yes no", "no no no"], 2 / 3),
        (["yes yes yes yes"], 1.0),  # of one prompt, it may well be its answer: the rule looks at steps of many
        (["yes no", "no yes"], 0.0),  # half of the attempts is not most of them
    ],
)
def test_a_text_counts_once_for_each_prompt_that_it_takes_over(texts, share):
    groups = [group(*map(attempt, words.split())) for words in texts]
    assert describe(groups, "rollout")["rollout/top_text_prompts"] == pytest.approx(share)


def test_shares_of_parts_sum_to_one_and_tell_who_works_against_the_reward():
    # a = 0, 3; b = 1, 0; reward = 1, 3. Variance 1; cov(a, reward) = 1.5, cov(b, reward) = -0.5
    pair = [attempt("x", 1, {"a/weighted": 0, "b/weighted": 1}), attempt("y", 3, {"a/weighted": 3, "b/weighted": 0})]
    found = describe([group(*pair)], "rollout")
    assert (found["part/a/share"], found["part/b/share"]) == pytest.approx((1.5, -0.5))


def test_no_differences_have_no_shares():
    same = group(*[attempt("x", 1, {"a/weighted": 0.5, "b/weighted": 0.5})] * 2)
    assert not any(name.endswith("/share") for name in describe([same], "rollout"))


def test_the_way_of_a_step_is_measured_on_what_was_sampled():
    weights, before = np.array([0, 1, 1], np.float32), np.array([0, -1, -2], np.float32)
    datum = Datum(np.zeros(3, np.int32), np.zeros(3, np.int32), weights, logprobs=before)
    after = [before + np.array([5, 0, np.log(2)], np.float32)]
    # r = 1 and 2: (0 + 2 - ln 2 - 1) / 2
    assert step_kl([datum], after)["kl_post_train"] == pytest.approx((1 - np.log(2)) / 2)
    assert step_kl([datum], [before])["kl_post_train"] == 0
