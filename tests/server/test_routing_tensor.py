"""Experts to replay as a tensor of ``loss_fn_inputs``, which every loss of both wires takes."""

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.datums import LOSSES, ROUTING, to_datum

TOKENS = np.array([5, 6, 7], np.int32)
ROUTES = np.array([[[0, 1], [2, 3]], [[-1, -1], [-1, -1]], [[4, 0], [1, 2]]])
"""[3 tokens, 2 layers, 2 experts]; the second is left to the router."""


def made(routes, loss="cross_entropy"):
    tensors = {"target_tokens": TOKENS + 1, ROUTING: routes}
    tensors |= {name: np.ones(3) for name in LOSSES[loss].required}
    return to_datum("data[0]", loss, TOKENS, tensors, 61, 64)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_takes_routes(loss):
    routing = made(ROUTES, loss).routing
    assert routing is not None
    assert routing.dtype == np.int16
    assert np.array_equal(routing, ROUTES)


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (ROUTES[:2], r"shape \[2, 2, 2\]"),
        (ROUTES.reshape(3, 4), r"shape \[3, 4\]"),
        (ROUTES.astype(float), "is float64"),
        (ROUTES - 1, "holds a number that is no expert"),
        (ROUTES + 40_000, "holds a number that is no expert"),
        (ROUTES[:, :0], r"shape \[3, 0, 2\]"),
    ],
)
def test_what_is_no_routing_is_refused_with_its_place(routes, words):
    with pytest.raises(UserError, match=rf"data\[0\]\.loss_fn_inputs\.routing_matrices: .*{words}"):
        made(routes)
