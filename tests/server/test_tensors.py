"""Tensors of the Tinker wire, and what a Datum may be made of."""

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.datums import check_settings, to_datum
from tunesmith.server.dialects.tinker import tensors
from tunesmith.server.dialects.tinker import wire_pb2 as wire

F4, I8 = wire.DTYPE_FLOAT32, wire.DTYPE_INT64


def dense(values, dtype=F4, shape=None):
    array = np.asarray(values, "<f4" if dtype == F4 else "<i8")
    return wire.Tensor(dense=array.tobytes(), dtype=dtype, shape=array.shape if shape is None else shape)


def sparse(values, crow, columns, shape):
    csr = wire.SparseCsr(
        values=np.asarray(values, "<f4").tobytes(),
        crow_indices=np.asarray(crow, "<i8").tobytes(),
        col_indices=np.asarray(columns, "<i8").tobytes(),
    )
    return wire.Tensor(sparse_csr=csr, dtype=F4, shape=shape)


def test_dense_and_sparse():
    assert tensors.array("t", dense([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert tensors.array("t", sparse([5, 6, 7], [0, 1, 1, 3], [2, 0, 1], [3, 3])).tolist() == [
        [0, 0, 5],
        [0, 0, 0],
        [6, 7, 0],
    ]


def test_a_sparse_answer_has_the_layout_of_the_question():
    crow, columns = np.array([0, 1, 1, 3]), np.array([2, 0, 1])
    values = np.array([[9, 9, 1.5], [9, 9, 9], [2.5, 3.5, 9]], np.float32)
    answer = tensors.sparse(values, crow, columns)
    assert np.frombuffer(answer.sparse_csr.values, "<f4").tolist() == [1.5, 2.5, 3.5]
    assert tensors.array("t", answer).tolist() == [[0, 0, 1.5], [0, 0, 0], [2.5, 3.5, 0]]


def test_bfloat16_is_widened():
    upper = (np.array([1.5, -2.0], "<f4").view("<u4") >> 16).astype("<u2")
    tensor = wire.Tensor(dense=upper.tobytes(), dtype=wire.DTYPE_BFLOAT16, shape=[2])
    assert tensors.array("t", tensor).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "tensor",
    [
        wire.Tensor(dtype=F4, shape=[1]),
        wire.Tensor(dense=b"123", dtype=F4),
        wire.Tensor(dense=b"1234", dtype=77, shape=[1]),
        dense([1, 2], shape=[3]),
        dense([1, 2], shape=[-1, -2]),
        sparse([1], [0, 1], [0], [2, 2]),
        sparse([1], [0, 2, 1], [0], [2, 2]),
        sparse([1], [0, 0, 1], [2], [2, 2]),
        sparse([1], [0, 0, 1], [-1], [2, 2]),
        sparse([1], [0, 1], [0], [1, 1 << 40]),
        sparse([1], [0, 1], [0], [1]),
    ],
)
def test_what_is_no_tensor(tensor):
    with pytest.raises(UserError, match=r"^t"):
        tensors.array("t", tensor)


def test_text_in_pieces_and_what_is_not_text():
    chunk = wire.Chunk(encoded_text=wire.EncodedTextChunk(tokens=np.array([1, 2], "<i4").tobytes()))
    assert tensors.tokens("input", [chunk, chunk]).tolist() == [1, 2, 1, 2]
    for other in (wire.Chunk(), wire.Chunk(image=wire.ImageChunk(data=b"x")), wire.Chunk(dmel=wire.DmelChunk())):
        with pytest.raises(UserError, match=r"input\[1\]"):
            tensors.tokens("input", [chunk, other])


TOKENS = np.array([1, 2, 3], np.int32)
TARGETS = np.array([2, 3, 4], np.int64)
ZEROS = np.zeros(3, np.float32)


def made(loss="ppo", tokens=TOKENS, **tensors):
    return to_datum("data[0]", loss, tokens, {"target_tokens": TARGETS, **tensors}, vocab=10, context=8)


def test_the_prompt_of_a_policy_loss_is_left_out():
    got = made(logprobs=np.array([0, -1, 0], np.float32), advantages=np.array([0, 0, 2], np.float32))
    assert got.weights.tolist() == [0, 1, 1]
    assert made("cross_entropy").weights.tolist() == [1, 1, 1]
    assert made("cross_entropy", weights=np.array([0, -3, 1], np.float64)).weights.tolist() == [0, -3, 1]


@pytest.mark.parametrize(
    ("word", "given"),
    [
        ("advantages is missing", {"logprobs": ZEROS}),
        ("Did you mean 'advantages'", {"logprobs": ZEROS, "advantage": ZEROS}),
        ("has shape", {"logprobs": ZEROS, "advantages": ZEROS[:2]}),
        ("not finite", {"logprobs": ZEROS, "advantages": np.array([0, np.nan, 0], np.float32)}),
        ("beyond float32", {"logprobs": ZEROS, "advantages": np.array([0, 1e300, 0])}),
        ("token 12", {"logprobs": ZEROS, "advantages": ZEROS, "target_tokens": np.array([2, 12, 3])}),
        ("not integers", {"logprobs": ZEROS, "advantages": ZEROS, "target_tokens": ZEROS}),
        ("two-dimensional", {"logprobs": ZEROS, "advantages": ZEROS, "target_tokens": np.ones((3, 2), np.int64)}),
        ("holds 0 tokens", {"logprobs": ZEROS, "advantages": ZEROS, "tokens": TOKENS[:0]}),
        ("holds 9 tokens", {"logprobs": ZEROS, "advantages": ZEROS, "tokens": np.ones(9, np.int32)}),
        ("Known: ", {"loss": "grpo", "logprobs": ZEROS, "advantages": ZEROS}),
    ],
)
def test_refusals_name_the_place(word, given):
    with pytest.raises(UserError, match=word):
        made(**given)


@pytest.mark.parametrize(
    ("loss", "settings", "word"),
    [
        ("ppo", {"clip_low": 0.8}, "Did you mean"),
        ("dro", {"beta": "much"}, "no finite number"),
        ("dro", {"beta": float("nan")}, "no finite number"),
        ("cross_entropy", {"beta": 1.0}, "takes no settings"),
        ("stable_reinforce", {"kl_coeff": 0.1}, "no KL term"),
    ],
)
def test_settings_that_are_refused(loss, settings, word):
    with pytest.raises(UserError, match=word):
        check_settings(loss, settings)


def test_settings_that_pass():
    assert check_settings("ppo", {"clip_low_threshold": 1}) == {"clip_low_threshold": 1.0}
    assert check_settings("stable_reinforce", {"kl_coeff": 0.0}) == {}
