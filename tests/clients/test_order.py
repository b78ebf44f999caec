"""Sequence numbers: chunks that arrive out of order, refused ones, and ones that arrive twice."""

from collections.abc import Iterator
from itertools import count

import pytest
from clients.conftest import MODEL
from clients.wire import Wire, forward_backward, plain_datum
from server.running import RunningServer

FIRST, SECOND, THIRD = [5, 6, 7, 8], [9, 10, 11, 12, 13], [20, 21, 22]


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    with Wire(server.base_url, server.key) as wire:
        yield wire


@pytest.fixture(scope="module")
def session(wire: Wire) -> str:
    return wire.session()


@pytest.fixture(scope="module")
def places() -> Iterator[int]:
    return count()


@pytest.fixture
def model(wire: Wire, session: str, places: Iterator[int]) -> str:
    """A new policy for every test; all of them have the same weights."""
    return wire.policy(session, MODEL, place=next(places))


def passed(wire: Wire, model: str, seq: int, tokens: list[int]) -> str:
    answer = wire.post("forward_backward", forward_backward(model, seq, [plain_datum(tokens)]))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["request_id"])


def norm_after(wire: Wire, model: str, seq: int) -> float:
    """The norm of everything accumulated so far, without moving the weights."""
    return float(wire.result(wire.optim_step(model, seq)["request_id"])["metrics"]["optim/grad_norm"])


def test_chunks_may_arrive_2_3_1(wire: Wire, model: str):
    in_order = [passed(wire, model, seq, tokens) for seq, tokens in ((1, FIRST), (2, SECOND), (3, THIRD))]
    expected = norm_after(wire, model, 4)
    shuffled = [passed(wire, model, seq, tokens) for seq, tokens in ((6, SECOND), (7, THIRD), (5, FIRST))]
    assert norm_after(wire, model, 8) == pytest.approx(expected, rel=1e-6)
    # The chunks have results of their own, each of its own datum.
    assert [wire.result(r) for r in in_order] == [wire.result(shuffled[i]) for i in (2, 0, 1)]


def test_a_repeated_request_is_one_request(wire: Wire, model: str):
    once = passed(wire, model, 1, FIRST)
    expected = norm_after(wire, model, 2)
    again = [passed(wire, model, 3, FIRST) for _ in range(3)]
    assert norm_after(wire, model, 4) == pytest.approx(expected, rel=1e-6)
    assert len(set(again)) == 1
    assert again[0] != once
    # So is a step: the second asks for the result of the first.
    assert wire.optim_step(model, 4)["request_id"] == wire.optim_step(model, 4)["request_id"]
    # And a result may be fetched twice, since the answer to a poll can get lost.
    assert wire.result(once) == wire.result(once)


def test_a_refused_number_is_used_up(wire: Wire, model: str):
    passed(wire, model, 1, FIRST)
    refused = wire.post("forward_backward", forward_backward(model, 2, [plain_datum(SECOND)], loss="no_such_loss"))
    assert refused.status_code == 400
    assert "no_such_loss" in refused.json()["detail"]
    assert norm_after(wire, model, 3) > 0


def test_a_failed_operation_does_not_stop_the_next(wire: Wire, model: str):
    """A checkpoint that is not there is found out when its turn comes, or at once; either way in words."""
    body = {"model_id": model, "seq_id": 1, "path": f"tinker://{model}/weights/none", "optimizer": True}
    answer = wire.post("load_weights", body | {"type": "load_weights"})
    said = answer.json()["detail"] if answer.status_code in (400, 404) else failure(wire, answer.json())
    assert "none" in said
    passed(wire, model, 2, FIRST)
    assert norm_after(wire, model, 3) > 0


def failure(wire: Wire, answer: dict[str, str]) -> str:
    result = wire.result(answer["request_id"])
    assert result["category"] == "user"
    return str(result["error"])
