"""Held-out rows and the order of an epoch: pure functions of their arguments, the same on every machine."""

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.rows import Row

FEWEST = 10
"""With fewer rows none is held out: too few to measure with, and too many to miss."""

_ORDER, _CARVE_OUT = 0, 1

R = TypeVar("R", bound=Row)


def order(num_rows: int, seed: int, epoch: int) -> list[int]:
    """The shuffled row indices of one epoch; depends on the arguments alone, so a resumed run needs no state."""
    return [int(i) for i in _permutation(num_rows, seed, epoch, _ORDER)]


def carve_out(rows: Sequence[R], seed: int, share: float = 0.1, most: int = 200) -> tuple[list[R], list[R]]:
    """Set rows aside for evaluation; both parts keep the file's order.

    About ``share`` of the rows are held out: at least 1, at most ``most``, and at least 2 rows remain to train on.
    Rows with equal messages, and rows of one line, stay on the same side: a held-out row that was also trained on
    measures memory. With fewer than 10 rows, or when nearly all are alike, nothing is held out.
    """
    room = held_out_of(len(rows), share, most)
    if not room:
        return list(rows), []
    groups = _groups_of_equals(rows)
    held: set[int] = set()
    for i in _permutation(len(groups), seed, 0, _CARVE_OUT):
        if len(held) + len(groups[i]) <= room:
            held.update(groups[i])
    train = [row for i, row in enumerate(rows) if i not in held]
    return train, [row for i, row in enumerate(rows) if i in held]


def held_out_of(num_rows: int, share: float = 0.1, most: int = 200) -> int:
    """How many of so many rows ``carve_out`` sets aside, or fewer where some are alike."""
    return 0 if num_rows < FEWEST else min(most, max(1, math.floor(num_rows * share)), num_rows - 2)


def _groups_of_equals(rows: Sequence[Row]) -> list[list[int]]:
    """Indices of rows that must not be parted."""
    by_line: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        by_line.setdefault(row.line, []).append(i)
    groups: dict[bytes, list[int]] = {}
    for indices in by_line.values():
        content = repr([rows[i].messages for i in indices]).encode("utf-8", "surrogatepass")
        groups.setdefault(hashlib.sha256(content).digest(), []).extend(indices)
    return list(groups.values())


def _permutation(count: int, seed: int, index: int, purpose: int) -> NDArray[np.int64]:
    """Sorting raw Philox words shuffles alike in every numpy version, which Generator does not promise."""
    key = np.array([seed, index], np.uint64)
    words = np.random.Philox(key=key, counter=[0, 0, 0, purpose]).random_raw(count)
    return np.argsort(words, kind="stable")
