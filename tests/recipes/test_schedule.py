"""Batches, learning rates and evaluations as pure functions of the spec."""

import math

import pytest

from tunesmith.recipes.schedule import due, learning_rate, schedule
from tunesmith.spec import SftSpec

ITEMS = list("abcdefghij")


def spec(**settings):
    return SftSpec(**{"dataset": "x", "limits": "off", "learning_rate": 1.0, **settings})


@pytest.mark.parametrize(("size", "epochs"), [(3, 1), (3, 4), (10, 2), (99, 2), (1, 2)])
def test_each_epoch_has_every_item_once_in_an_order_of_its_own(size, epochs):
    plan = schedule(ITEMS, size, epochs, seed=7)
    assert [p.step for p in plan] == list(range(1, len(plan) + 1))
    assert len(plan) == math.ceil(10 / size) * epochs
    for epoch in range(1, epochs + 1):
        own = [p for p in plan if p.epoch == epoch]
        assert sorted(x for p in own for x in p.items) == ITEMS
        assert [p.ends_epoch for p in own] == [False] * (len(own) - 1) + [True]
        assert all(len(p.items) == min(size, 10) for p in own[:-1])
    orders = {tuple(x for p in plan if p.epoch == e for x in p.items) for e in range(1, epochs + 1)}
    assert len(orders) == epochs


def test_the_schedule_depends_on_its_arguments_alone():
    """Resuming after step 5 is the rest of the same list."""
    assert schedule(ITEMS, 3, 3, 7) == schedule(ITEMS, 3, 3, 7)
    assert schedule(ITEMS, 3, 3, 7) != schedule(ITEMS, 3, 3, 8)
    assert schedule(ITEMS, 3, 2, 7) == schedule(ITEMS, 3, 3, 7)[:8]


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"learning_rate_schedule": "linear"}, [1, 0.75, 0.5, 0.25, 0]),
        ({"learning_rate_schedule": "linear", "min_lr_ratio": 0.2}, [1, 0.8, 0.6, 0.4, 0.2]),
        ({"learning_rate_schedule": "cosine"}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        (
            {"learning_rate_schedule": "cosine", "min_lr_ratio": 0.5},
            [1, 0.5 + (1 + math.sqrt(0.5)) / 4, 0.75, None, 0.5],
        ),
        ({"learning_rate": 4.0, "learning_rate_schedule": "linear"}, [4, 3, 2, 1, 0]),
    ],
)
def test_learning_rates_over_five_steps(settings, rates):
    for step, rate in enumerate(rates, start=1):
        if rate is not None:
            assert learning_rate(spec(**settings), step - 1, step, 5) == pytest.approx(rate, abs=1e-12)


def test_warm_up_counts_updates_and_not_steps():
    """Four updates a step: the rate rises over the first three of them."""
    found = [learning_rate(spec(learning_rate_warmup_steps=3), update, 1 + update // 4, 5) for update in range(8)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1])


def test_a_job_of_one_step_has_the_whole_rate():
    for name in ("constant", "linear", "cosine"):
        assert learning_rate(spec(learning_rate_schedule=name), 0, 1, 1) == 1.0


@pytest.mark.parametrize(
    ("every", "steps"), [(0, [0, 7]), (3, [0, 3, 6, 7]), (1, [0, 1, 2, 3, 4, 5, 6, 7]), (9, [0, 7])]
)
def test_when_held_out_rows_are_scored(every, steps):
    assert [s for s in range(8) if due(spec(eval_every=every), s, 7)] == steps
