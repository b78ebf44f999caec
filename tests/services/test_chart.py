"""Charts say the right numbers at the right places."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tunesmith.services.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Line,
    line_chart,
    nice_ticks,
    show_value,
)


def texts(svg, kind):
    root = ElementTree.fromstring(svg)
    return ["".join(t.itertext()) for t in root.iter("text") if kind in t.get("class", "").split()]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.21, 0.77, [0.2, 0.4, 0.6, 0.8]),
        (-0.003, 0.002, [-0.004, -0.002, 0, 0.002]),
        (0, 100, [0, 50, 100]),
        (0, 4, [0, 1, 2, 3, 4]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(low, high, ticks):
    assert nice_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        *((0.73149, "number", "0.731"), (0.00132, "number", "0.0013"), (1.24e-6, "number", "1.2e-6")),
        *((0.0, "number", "0"), (1234.5, "number", "1234"), (2e5, "number", "2e5"), (-3e-4, "number", "-3e-4")),
        *((0.44, "share", "44%"), (0.015, "share", "1.5%"), (1.0, "share", "100%")),
    ],
)
def test_values_are_written_short(value, form, text):
    assert show_value(value, form) == text


def test_points_lie_where_their_numbers_say():
    svg = line_chart("t", [Line("a", [(0, 0.0), (10, 1.0)])])
    points = re.search(r'points="([^"]+)"', svg).group(1)
    left, right, top, floor = float(LEFT), float(WIDTH - RIGHT), float(TOP), float(HEIGHT - BOTTOM)
    assert points == f"{left},{floor} {right},{top}"
    assert texts(svg, "last") == ["1"]


def test_last_values_do_not_overlap():
    svg = line_chart("t", [Line("a", [(1, 0.0), (2, 0.500)]), Line("b", [(1, 1.0), (2, 0.501)])])
    heights = sorted(float(y) for y in re.findall(r'class="last over s\d" x="[\d.]+" y="([\d.]+)"', svg))
    assert heights[1] - heights[0] >= 12


def test_a_log_axis_shows_powers_of_ten_and_leaves_zeros_out():
    svg = line_chart("gap", [Line("max", [(1, 0.0), (2, 2e-6), (3, 3e-5)])], Axis("log", guide=1e-5))
    assert texts(svg, "tick")[:3] == ["10-6", "10-5", "10-4"]
    assert (texts(svg, "last"), "limit 1e-5" in texts(svg, "tick")) == (["3e-5"], True)
    assert "at step 1:" not in svg


@pytest.mark.parametrize(("values", "shown"), [([0.001, 0.002], False), ([0.001, 0.015], True)])
def test_the_limit_is_shown_once_the_data_come_near_it(values, shown):
    svg = line_chart("kl", [Line("kl", list(enumerate(values)))], Axis(guide=0.02))
    assert ("limit 0.02" in svg) is shown


@pytest.mark.parametrize("value", [0.0, 0.5, -2.0, 3e-7])
def test_one_point_and_a_constant_are_drawn(value):
    for points in ([(4, value)], [(4, value), (5, value)]):
        svg = line_chart("t", [Line("a", points)])
        assert texts(svg, "last") == [show_value(value, "number")]
        assert "nan" not in svg


def test_long_lines_are_thinned_but_keep_their_peaks():
    points = [(float(s), 0.0) for s in range(10_000)]
    points[7777] = (7777.0, 5.0)
    svg = line_chart("t", [Line("a", points)])
    assert svg.count("<circle") <= MOST_POINTS + 2
    assert "a at step 7777: 5" in svg


def test_names_are_escaped_and_the_numbers_spoken():
    svg = line_chart('a<"b"', [Line("x & y", [(1, 0.25), (2, 0.5)])])
    label = ElementTree.fromstring(svg).get("aria-label")
    assert label == 'a<"b": x & y from 0.25 at step 1 to 0.5 at step 2'
