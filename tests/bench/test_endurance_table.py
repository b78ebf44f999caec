"""The table of the long tests names tests that are there, and says of each what it came to."""

from pathlib import Path

from bench.endurance import PROMISES, Ended, told

TESTS = Path(__file__).parents[1]


def test_every_promise_has_its_tests():
    for promise in PROMISES:
        for test in promise.tests:
            file, _, name = test.partition("::")
            assert f"def {name or 'test_'}" in (TESTS / file).read_text("utf-8"), test


def test_all_of_them_fit_into_an_hour():
    assert sum(promise.minutes for promise in PROMISES) < 60


def test_a_promise_is_met_when_its_tests_ran_and_passed():
    promise = PROMISES[0]
    met = Ended(promise, ("50 kills",), (), 1, 2.0)
    assert told(met) == (promise.name, "50 kills", promise.target, "met", "2 s")
    assert told(Ended(promise, (), (), 0, 2.0))[3] == "missed", "skipped is not met"
    assert "failed: test_x" in told(Ended(promise, (), ("test_x",), 1, 2.0))[1]
