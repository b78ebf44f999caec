"""What is said before a job starts, and when its grader fails too often."""

import pytest

from tunesmith.grading.error_report import top_errors
from tunesmith.grading.forecast import advise_signal, expected_signal_share, histogram


@pytest.mark.parametrize(
    ("pass_rates", "n", "share"),
    [
        ([], 8, 0.0),
        ([0.0, 1.0], 8, 0.0),
        # 1 - 1/4 - 1/4
        ([0.5], 2, 0.5),
        # (1 - 0.1^2 - 0.9^2 + 0) / 2
        ([0.1, 0.0], 2, 0.09),
        # 1 - 0.1^8 - 0.9^8
        ([0.1], 8, 0.56953278),
    ],
)
def test_expected_signal_share(pass_rates, n, share):
    assert expected_signal_share(pass_rates, n) == pytest.approx(share, abs=1e-8)


def test_no_advice_where_groups_differ_often_enough():
    assert advise_signal([0.5, 0.3, 0.6], 8, 0.7) == []
    assert advise_signal([], 8, 0.7) == []


def test_advice_for_rarely_solved_prompts_names_more_candidates():
    # 1 - 0.95^8 - 0.05^8 = 34%; 16 candidates: 56%
    advice = advise_signal([0.05], 8, 0.7)
    assert advice[0].startswith("With 8 candidates, 34% of the prompts")
    assert advice[1] == "16 candidates instead of 8 would raise that to 56%."
    assert len(advice) == 2


def test_advice_for_hopeless_and_solved_prompts():
    advice = " ".join(advise_signal([0.0] * 6 + [1.0] * 3 + [0.5], 8, 0.7))
    assert "60% of the prompts were never solved" in advice
    assert "30% of the prompts were always solved" in advice
    assert "Raise the temperature from 0.7" in advice
    assert "Raise the temperature" not in " ".join(advise_signal([0.0], 8, 1.2))


def test_histogram():
    assert histogram([0.0, 0.1, 0.5, 1.0], bins=2) == [(0.0, 0.5, 2), (0.5, 1.0, 2)]
    assert histogram([3.0, 3.0]) == [(3.0, 3.0, 2)]
    assert histogram([]) == []


def test_the_most_frequent_errors_come_first_with_a_traceback():
    trace = "error: Traceback (most recent call last):\n  File \"g.py\", line 3, in grade\nKeyError: 'answer'"
    errors = [f"timeout: no answer within {s} s" for s in (10, 11)] + [trace] * 3 + ["crash: exit status 3"]
    report = top_errors([*errors, "bad_value: None"], k=2)
    assert report.startswith(f"3 x {trace}")
    assert "2 x timeout: no answer within 10 s" in report
    assert report.endswith("2 x other")
    assert top_errors([]) == ""
