"""From JSON to arrays and back: tensors, token ids, and the experts that tokens were routed to."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import UserError
from tunesmith.core.types import Floats, Ints, Routes
from tunesmith.models.config import DecoderConfig
from tunesmith.server.dialects.fireworks import schemas

_DTYPES = {"float32": np.float64, "int64": np.int64}
"""Numbers keep their size until they were checked, so that none becomes infinite unseen."""
MOST_EXPERTS = 256
MOST_NUMBERS = 1 << 26
"""Of one tensor when it is dense: a sparse one of a few bytes may claim any shape."""


def array(where: str, given: schemas.Tensor) -> NDArray[Any]:
    """The numbers of a tensor in its shape; what sparse rows leave out is 0.

    Raises:
        UserError: an unknown dtype, numbers that do not fit the shape or the dtype, indices out of it.
    """
    if given.dtype not in _DTYPES:
        raise UserError(f"{where}.dtype", f"{given.dtype!r} is unknown", "Send float32 or int64")
    try:
        flat = np.array(given.data, _DTYPES[given.dtype])
    except OverflowError:
        raise UserError(where, "holds a number beyond 64 bits", "Check the data") from None
    if given.dtype == "int64" and any(isinstance(x, float) for x in given.data):
        raise UserError(where, "holds fractions under dtype int64", "Send dtype float32, or whole numbers")
    shape = tuple(given.shape) if given.shape is not None else (len(flat),)
    if any(n < 0 for n in shape):
        raise UserError(f"{where}.shape", f"{list(shape)} is no shape", "Give numbers from 0 up")
    if given.sparse_crow_indices is not None or given.sparse_col_indices is not None:
        return _dense(where, flat, given.sparse_crow_indices or [], given.sparse_col_indices or [], shape)
    if len(shape) > 3 or _product(shape) != len(flat):
        raise UserError(where, f"holds {len(flat)} numbers for shape {list(shape)}", "Make both agree")
    return flat.reshape(shape)


def tokens(where: str, given: schemas.ModelInput) -> Ints:
    """[T] ids of a model input, which may come in several pieces of text."""
    for i, chunk in enumerate(given.chunks):
        if chunk.type != "encoded_text":
            problem = f"is {chunk.type!r}, which the models here cannot see or hear"
            raise UserError(f"{where}.chunks[{i}]", problem, "Send text, as encoded_text")
    return ids(where, [token for chunk in given.chunks for token in chunk.tokens])


def ids(where: str, values: Sequence[int]) -> Ints:
    try:
        return np.array(values, np.int32)
    except OverflowError:
        raise UserError(where, "holds an id beyond 32 bits", "Encode with the tokenizer of this model") from None


def tensor(values: Floats) -> dict[str, Any]:
    return {"data": values.ravel().tolist(), "dtype": "float32", "shape": list(values.shape)}


def routes(where: str, matrices: Sequence[str], length: int, config: DecoderConfig) -> Routes:
    """[T, layers, k] experts from one base64 text of bytes per input token; an empty text leaves it to the router.

    Raises:
        UserError: a model without experts, another number of texts than tokens, texts of another size, unknown experts.
    """
    layers, k, experts = expert_shape(where, config)
    if len(matrices) != length:
        raise UserError(where, f"holds {len(matrices)} matrices for {length} tokens", "Give one for every input token")
    out = np.full((length, layers, k), -1, np.int16)
    for i, text in enumerate(matrices):
        if not text:
            continue
        try:
            raw = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
        except (binascii.Error, ValueError):
            raise UserError(f"{where}[{i}]", "is not base64", "Send what sampling returned") from None
        if len(raw) != layers * k:
            problem = f"holds {len(raw)} expert ids"
            raise UserError(f"{where}[{i}]", problem, f"Give {layers * k}: {layers} sparse layers of {k}")
        if raw.max() >= experts:
            raise UserError(f"{where}[{i}]", f"names expert {raw.max()}", f"Experts are 0 to {experts - 1}")
        out[i] = raw.reshape(layers, k)
    return out


def expert_shape(where: str, config: DecoderConfig) -> tuple[int, int, int]:
    """(sparse layers, experts per token, experts)."""
    if config.moe is None:
        raise UserError(where, "the model has no experts to route to", "Leave it out")
    if config.moe.num_experts > MOST_EXPERTS:
        problem = f"the model has {config.moe.num_experts} experts, and a matrix holds one byte for each"
        raise UserError(where, problem, "Send routing_matrices in loss_fn_inputs, or leave it out")
    layers = sum(config.sparse(layer) is not None for layer in range(config.layers))
    return layers, config.moe.top_k, config.moe.num_experts


def matrix(routing: Routes) -> str:
    """[layers, k] experts of one token -> base64 of bytes."""
    return base64.b64encode(routing.astype(np.uint8).tobytes()).decode("ascii")


def _dense(
    where: str, values: NDArray[Any], crow: Sequence[int], columns: Sequence[int], shape: tuple[int, ...]
) -> NDArray[Any]:
    if len(shape) != 2 or 0 in shape or _product(shape) > MOST_NUMBERS:
        raise UserError(f"{where}.shape", f"{list(shape)} is no shape of a sparse matrix", "Give [rows, columns]")
    try:
        starts, places = np.array(crow, np.int64), np.array(columns, np.int64)
    except OverflowError:
        raise UserError(where, "holds an index beyond 64 bits", "Send a CSR matrix") from None
    whole = len(starts) == shape[0] + 1 and starts[0] == 0 and starts[-1] == len(values) == len(places)
    inside = not len(places) or 0 <= places.min() <= places.max() < shape[1]
    if not whole or (np.diff(starts) < 0).any() or not inside:
        raise UserError(where, "its indices do not describe a matrix of its shape", "Send a CSR matrix")
    out = np.zeros(shape, values.dtype)
    out[np.repeat(np.arange(shape[0]), np.diff(starts)), places] = values
    return out


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
