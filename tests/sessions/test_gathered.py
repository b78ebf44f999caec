"""What a gradient is divided by: counts of tokens and datums since the last step, and that they outlive a save."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tunesmith.core.errors import UserError
from tunesmith.core.types import Datum
from tunesmith.services.sessions.gathered import Gathered, divide_gradient, read_gathered, write_gathered


def weighted(*weights: float) -> Datum:
    ids = np.arange(len(weights), dtype=np.int32)
    return Datum(ids, ids, np.array(weights, np.float32))


# Three weights that are not 0 (a negative one counts), in two datums; then one more datum of one token.
GATHERED = Gathered().plus([weighted(0, 1, 0.5), weighted(-2)]).plus([weighted(1)])


@pytest.mark.parametrize(("name", "expected"), [("none", 1), ("num_loss_tokens", 4), ("num_sequences", 3)])
def test_divisor(name, expected):
    assert GATHERED.divisor(name) == expected


def test_tokens_without_weight_are_nothing_to_divide_by():
    with pytest.raises(UserError, match="num_loss_tokens is 0"):
        Gathered().plus([weighted(0, 0)]).divisor("num_loss_tokens")


def test_gradients_are_divided_in_place_and_what_has_none_stays_without():
    with_gradient, without = torch.zeros(2), torch.zeros(2)
    with_gradient.grad = torch.tensor([3.0, -6.0])
    divide_gradient([with_gradient, without], 3)
    assert with_gradient.grad.tolist() == [1.0, -2.0]
    assert without.grad is None


def test_counts_are_saved_beside_the_gradient(tmp_path: Path):
    write_gathered(tmp_path, GATHERED)
    assert read_gathered(tmp_path) == GATHERED
    assert read_gathered(tmp_path / "adapter") == Gathered()
