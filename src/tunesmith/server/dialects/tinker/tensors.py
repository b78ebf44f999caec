"""Tensors between protobuf bytes and numpy: no number passes through Python objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import UserError
from tunesmith.core.types import Ints
from tunesmith.server.dialects.tinker import wire_pb2 as wire

_DTYPES: dict[int, np.dtype[Any]] = {
    wire.DTYPE_FLOAT32: np.dtype("<f4"),
    wire.DTYPE_INT64: np.dtype("<i8"),
    wire.DTYPE_INT32: np.dtype("<i4"),
    wire.DTYPE_BFLOAT16: np.dtype("<u2"),
}
MOST_NUMBERS = 1 << 26
"""Of one tensor when it is dense: a sparse one of a few bytes may claim any shape."""


def array(where: str, tensor: wire.Tensor) -> NDArray[Any]:
    """The numbers of a tensor in its shape; bfloat16 becomes float32, sparse rows become dense with zeros.

    Raises:
        UserError: an unknown dtype, bytes that do not fit the shape, indices out of it.
    """
    if tensor.dtype not in _DTYPES:
        raise UserError(f"{where}.dtype", f"{tensor.dtype} is unknown", "Send float32, int64, int32 or bfloat16")
    dtype, shape = _DTYPES[tensor.dtype], tuple(tensor.shape)
    kind = tensor.WhichOneof("encoding")
    if kind is None:
        raise UserError(where, "holds neither dense nor sparse numbers", "Send dense bytes or sparse_csr")
    if kind == "sparse_csr":
        return _dense(where, tensor.sparse_csr, dtype, shape)
    flat = _numbers(where, tensor.dense, dtype)
    if not shape:
        return _widened(flat, tensor.dtype)
    if any(n < 0 for n in shape) or _product(shape) != len(flat):
        raise UserError(where, f"holds {len(flat)} numbers for shape {list(shape)}", "Make both agree")
    return _widened(flat, tensor.dtype).reshape(shape)


def tokens(where: str, chunks: Sequence[wire.Chunk]) -> Ints:
    """[T] ids of a model input, which may come in several pieces of text."""
    pieces = []
    for i, chunk in enumerate(chunks):
        kind = chunk.WhichOneof("chunk")
        if kind != "encoded_text":
            problem = "is an image or audio, which the models here cannot see" if kind else "is empty"
            raise UserError(f"{where}[{i}]", problem, "Send text, as encoded_text")
        pieces.append(_numbers(f"{where}[{i}]", chunk.encoded_text.tokens, np.dtype("<i4")))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)


def dense(values: NDArray[Any]) -> wire.Tensor:
    """Float32 and int64 arrays as they go back."""
    kind = wire.DTYPE_FLOAT32 if values.dtype.kind == "f" else wire.DTYPE_INT64
    return wire.Tensor(dense=values.astype(_DTYPES[kind]).tobytes(), dtype=kind, shape=values.shape)


def sparse(values: NDArray[Any], crow: NDArray[np.int64], columns: NDArray[np.int64]) -> wire.Tensor:
    """The cells of a float32 matrix that a CSR layout lists."""
    rows = np.repeat(np.arange(len(crow) - 1), np.diff(crow))
    csr = wire.SparseCsr(
        values=values[rows, columns].astype("<f4").tobytes(),
        crow_indices=crow.astype("<i8").tobytes(),
        col_indices=columns.astype("<i8").tobytes(),
    )
    return wire.Tensor(sparse_csr=csr, dtype=wire.DTYPE_FLOAT32, shape=values.shape)


def _dense(where: str, sparse: wire.SparseCsr, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A CSR matrix in full; what it leaves out is 0."""
    if len(shape) != 2 or any(n < 1 for n in shape) or _product(shape) > MOST_NUMBERS:
        raise UserError(f"{where}.shape", f"{list(shape)} is no shape of a sparse matrix", "Give [rows, columns]")
    values = _numbers(where, sparse.values, dtype)
    rows = _numbers(f"{where}.crow_indices", sparse.crow_indices, np.dtype("<i8"))
    columns = _numbers(f"{where}.col_indices", sparse.col_indices, np.dtype("<i8"))
    counts = np.diff(rows)
    whole = len(rows) == shape[0] + 1 and rows[0] == 0 and rows[-1] == len(values) == len(columns)
    if not whole or (counts < 0).any() or (len(columns) and not 0 <= columns.min() <= columns.max() < shape[1]):
        raise UserError(where, "its indices do not describe a matrix of its shape", "Send what to_sparse_csr gives")
    out = np.zeros(shape, dtype)
    out[np.repeat(np.arange(shape[0]), counts), columns] = values
    return _widened(out, wire.DTYPE_BFLOAT16 if dtype == _DTYPES[wire.DTYPE_BFLOAT16] else wire.DTYPE_UNSPECIFIED)


def _widened(values: NDArray[Any], kind: int) -> NDArray[Any]:
    """bfloat16 is the upper half of a float32."""
    return (values.astype("<u4") << 16).view("<f4") if kind == wire.DTYPE_BFLOAT16 else values


def _numbers(where: str, raw: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(raw) % dtype.itemsize:
        raise UserError(where, f"{len(raw)} bytes are no whole number of {dtype.name}", "Check the dtype")
    return np.frombuffer(raw, dtype)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
