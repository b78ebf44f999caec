"""What every driver shares: settings in as one JSON argument, the answer out as the last line, data as SDKs want it.

Drivers run in a client's own environment and know nothing of the server but its address and key, which the SDK reads
from TINKER_BASE_URL and TINKER_API_KEY. They act and report; the tests judge.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tinker
from tinker import types

SGD_EPS = 1e6
"""Without momentum so large an epsilon makes Adam plain gradient descent: lr * g / (|g| + eps)."""


def answer(main: Callable[..., Any]) -> None:
    """Run a driver on the settings of the command line and print what it returns."""
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    print(json.dumps(main(**settings), default=plain), flush=True)


def plain(value: Any) -> Any:
    """Arrays as lists, everything else as text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def ready(client: Any) -> Any:
    """The client itself: newer SDKs return a future of it, older ones the client."""
    return client.result() if hasattr(client, "result") else client


def policy(service: Any, model: str, rank: int = 8, seed: int = 1, **settings: Any) -> Any:
    return ready(service.create_lora_training_client(base_model=model, rank=rank, seed=seed, **settings))


def tensor(values: Any, dtype: str) -> Any:
    array = np.asarray(values, dtype=dtype)
    return types.TensorData(data=array.ravel().tolist(), dtype=dtype, shape=list(array.shape))


def prompt(tokens: Sequence[int]) -> Any:
    return types.ModelInput.from_ints([int(t) for t in tokens])


def datum(tokens: Sequence[int], columns: Mapping[str, Any]) -> Any:
    """One sequence of L ids as a datum of T = L - 1 targets, with float32 columns beside them."""
    inputs = {"target_tokens": tensor(tokens[1:], "int64")}
    inputs |= {name: tensor(values, "float32") for name, values in columns.items()}
    return types.Datum(model_input=prompt(tokens[:-1]), loss_fn_inputs=inputs)


def plain_data(sequences: Sequence[Sequence[int]], weight: float = 1.0) -> list[Any]:
    """Sequences for cross_entropy, every target with the same weight."""
    return [datum(tokens, {"weights": np.full(len(tokens) - 1, weight)}) for tokens in sequences]


def logprobs(output: Any) -> list[Any]:
    """The log-probabilities of a pass, one array per datum in the shape of its targets."""
    return [np.asarray(o["logprobs"].data, np.float32).reshape(o["logprobs"].shape) for o in output.loss_fn_outputs]


def score(training: Any, sequences: Sequence[Sequence[int]]) -> list[Any]:
    """The log-probabilities of sequences under the policy as it is."""
    return logprobs(training.forward(plain_data(sequences), "cross_entropy").result())


def descend(training: Any, rate: float) -> dict[str, float]:
    """One step of gradient descent: weights -= rate * gradient."""
    adam = tinker.AdamParams(learning_rate=rate * SGD_EPS, beta1=0.0, beta2=0.95, eps=SGD_EPS)
    return dict(training.optim_step(adam).result().metrics or {})


def gradient_norm(training: Any) -> float:
    """The L2 norm of what has been accumulated, which is cleared; the weights stay."""
    return float(descend(training, 0.0)["optim/grad_norm"])


def made_sequences(lengths: Sequence[int], seed: int = 0, vocabulary: int = 384) -> list[list[int]]:
    """Sequences of ordinary ids, always the same."""
    random = np.random.default_rng(seed)
    return [random.integers(3, vocabulary, length).tolist() for length in lengths]
