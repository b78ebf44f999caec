"""Every loss through the SDK, its value and its gradient, against formulas worked by hand in float64."""

import pytest
from clients.conftest import Ask
from clients.drivers.formulas import CASES

CLIENT = "tinker-0.38.0"


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str, ask: Ask):
    found = ask(CLIENT, "losses")["cases"][name]
    assert found["loss"] == pytest.approx(found["expected"], rel=1e-5, abs=1e-4)
    assert found["logprobs_off"] < 1e-5
    assert found["gradient_norm"] > 0.1
    assert found["left_over"] < 1e-5 * found["gradient_norm"]


def test_settings_and_columns_matter(ask: Ask):
    """Cases of one loss that differ in their settings differ in their values: none of them is read past."""
    cases = ask(CLIENT, "losses")["cases"]
    for loss in {case.loss for case in CASES.values()}:
        values = [cases[name]["loss"] for name, case in CASES.items() if case.loss == loss]
        assert len({round(v, 3) for v in values}) == len(values)


def test_the_gradient_goes_down_the_loss(ask: Ask):
    # A step that lowers the loss by a thousandth, to first order, leaves the second order within a few percent of it.
    descent = ask(CLIENT, "losses")["descent"]
    assert descent["fell"] == pytest.approx(descent["expected"], rel=0.05)
