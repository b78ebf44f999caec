"""The value of a loss on log-probabilities that are known already: what a forward without backward reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunesmith.core.types import PLAIN_SUM, Datum, Floats
from tunesmith.losses import LossInputs, loss_named

_COLUMNS = {"logprobs": "old_logprobs", "ref_logprobs": "ref_logprobs", "advantages": "advantages"}


def loss_value(loss: str, data: Sequence[Datum], logprobs: Sequence[Floats], settings: Mapping[str, Any]) -> float:
    """The plain sum of a loss of ``LOSSES`` over all data, given the log-probability of every target."""

    def packed(columns: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.concatenate([np.asarray(c, np.float32).reshape(-1) for c in columns]))

    lengths = torch.tensor([x.size for x in logprobs])
    extra = {
        name: packed([getattr(d, column) for d in data])
        for column, name in _COLUMNS.items()
        if all(getattr(d, column) is not None for d in data)
    }
    segment = torch.repeat_interleave(torch.arange(len(data)), lengths)
    inputs = LossInputs(packed(logprobs), packed([d.weights for d in data]), segment, len(data), **extra)
    return float(loss_named(loss)(inputs, PLAIN_SUM, **settings).loss)
