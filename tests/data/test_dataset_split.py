"""Held-out rows and the order of an epoch depend on their arguments alone."""

import pytest
from data.dataset_files import ASSISTANT, USER

from tunesmith.data import SftRow, carve_out, order


def rows_of(texts: list[str], lines: list[int] | None = None) -> list[SftRow]:
    numbers = lines or range(1, len(texts) + 1)
    return [
        SftRow(line, ({**USER, "content": text}, ASSISTANT), (), 1.0) for line, text in zip(numbers, texts, strict=True)
    ]


def different(count: int) -> list[SftRow]:
    return rows_of([f"question {i}" for i in range(count)])


@pytest.mark.parametrize(
    ("count", "held"), [(10, 1), (19, 1), (20, 2), (100, 10), (1999, 199), (2000, 200), (9000, 200)]
)
def test_a_tenth_is_held_out_and_at_most_200(count, held):
    train, heldout = carve_out(different(count), seed=0)
    assert (len(train), len(heldout)) == (count - held, held)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_rows_are_all_trained(count):
    rows = different(count)
    assert carve_out(rows, seed=0) == (rows, [])


def test_two_rows_always_remain():
    train, heldout = carve_out(different(10), seed=0, share=1.0)
    assert (len(train), len(heldout)) == (2, 8)


def test_both_parts_keep_the_order_and_together_are_the_rows():
    rows = different(50)
    train, heldout = carve_out(rows, seed=3)
    assert [r.line for r in train] == sorted(r.line for r in train)
    assert [r.line for r in heldout] == sorted(r.line for r in heldout)
    assert sorted([*train, *heldout], key=lambda r: r.line) == rows


def test_the_seed_decides():
    rows = different(100)
    assert carve_out(rows, seed=1) == carve_out(rows, seed=1)
    assert carve_out(rows, seed=1) != carve_out(rows, seed=2)


def test_equal_rows_are_never_parted():
    rows = rows_of([f"question {i % 25}" for i in range(100)])
    train, heldout = carve_out(rows, seed=0)
    assert len(heldout) == 8  # four of each question: two questions fit into ten rows
    assert not {r.messages[0]["content"] for r in train} & {r.messages[0]["content"] for r in heldout}


def test_rows_of_one_line_are_never_parted():
    rows = rows_of([f"turn {i}" for i in range(60)], lines=[1 + i // 3 for i in range(60)])
    train, heldout = carve_out(rows, seed=0)
    assert len(heldout) == 6
    assert not {r.line for r in train} & {r.line for r in heldout}


def test_rows_that_are_all_alike_are_all_trained():
    assert carve_out(rows_of(["same"] * 40), seed=0)[1] == []


def test_an_order_is_a_permutation_that_seed_and_epoch_decide():
    assert sorted(order(100, 0, 0)) == list(range(100))
    assert order(100, 0, 0) == order(100, 0, 0)
    assert len({tuple(order(100, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert (order(0, 0, 0), order(1, 0, 0)) == ([], [0])


def test_the_order_is_the_same_on_every_machine():
    # Frozen from numpy 2.4: raw Philox words are specified, so another numpy must give these too.
    assert order(10, 7, 2) == [6, 7, 8, 4, 0, 1, 5, 3, 9, 2]
