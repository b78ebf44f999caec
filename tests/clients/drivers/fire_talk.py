"""What the drivers of Fireworks' SDK share: address and key of the server, data, and the answer as the last line."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from fireworks.training.sdk import types

ROOT = os.environ["TINKER_BASE_URL"]
KEY = "fw_" + os.environ["TINKER_API_KEY"].removeprefix("tml-")
"""The same key: the SDK takes one that begins with tml- for another service's."""
SERVERLESS = f"{ROOT}/training/v1/serverless"


def answer(main: Callable[..., Any]) -> None:
    """Run a driver on the settings of the command line and print what it returns."""
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    print(json.dumps(main(**settings), default=plain), flush=True)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def tensor(values: Any, dtype: str = "float32") -> Any:
    array = np.asarray(values, dtype=dtype)
    return types.TensorData(data=array.ravel().tolist(), dtype=dtype, shape=list(array.shape))


def prompt(tokens: Sequence[int]) -> Any:
    return types.ModelInput.from_ints([int(t) for t in tokens])


def datum(tokens: Sequence[int], **columns: Any) -> Any:
    """L ids as a datum of T = L - 1 targets, with float32 columns beside them."""
    inputs = {"target_tokens": tensor(tokens[1:], "int64")} | {n: tensor(v) for n, v in columns.items()}
    return types.Datum(model_input=prompt(tokens[:-1]), loss_fn_inputs=inputs)


def plain_data(sequences: Sequence[Sequence[int]]) -> list[Any]:
    return [datum(tokens, weights=np.ones(len(tokens) - 1)) for tokens in sequences]


def logprobs(output: Any) -> list[list[float]]:
    return [list(o["logprobs"].data) for o in output.loss_fn_outputs]


def score(training: Any, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
    """The log-probability of every target."""
    return logprobs(training.forward(plain_data(sequences), "cross_entropy").result())


def refusal(call: Callable[[], Any]) -> str:
    """What a client is told; "" where nothing was refused."""
    try:
        call()
    except Exception as e:  # the SDK's own exceptions are many; the words are what counts
        return f"{type(e).__name__}: {e}"
    return ""


def numbered(mapping: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in mapping.items()}
