"""How far two graders agree on the same attempts: rank correlations, worked out without a library for it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Correlation of ranks, ties sharing the mean of theirs; None where one side is all alike."""
    x, y = _ranks(a), _ranks(b)
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))


def kendall(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Tau-b: pairs in the same order less pairs in opposite order, ties taken out; None where one side is all alike."""
    x, y = np.sign(_differences(a)), np.sign(_differences(b))
    untied = math.sqrt(float((x != 0).sum()) * float((y != 0).sum()))
    return float((x * y).sum()) / untied if untied else None


def _differences(values: Sequence[float]) -> NDArray[np.float64]:
    """[pairs] later minus earlier, of every pair."""
    column = np.asarray(values, np.float64)
    first, second = np.triu_indices(len(column), 1)
    return column[second] - column[first]


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """[n] from 1; equal values share the mean of their ranks."""
    column = np.asarray(values, np.float64)
    _, which, counts = np.unique(column, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which]
