"""The one place where L tokens become T = L - 1 predicted tokens."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.types import Datum, Floats, Ints, Segment


def sequence_to_datum(tokens: Ints, weights: Floats) -> Datum:
    """[L] tokens with [L] loss weights -> a Datum; the first token has nothing before it and is never predicted."""
    return Datum(tokens=tokens[:-1], targets=tokens[1:], weights=np.asarray(weights[1:], np.float32))


def column_of_segment(values: NDArray[Any]) -> NDArray[Any]:
    """[T] values of predicted tokens -> [L] of all; the first token, which nothing predicts, has 0."""
    return np.concatenate([np.zeros(1, values.dtype), values])


def segment_to_datum(segment: Segment, advantage: float) -> Datum:
    """A rollout's segment -> a Datum that trains the sampled tokens with one advantage for all of them."""
    sampled = segment.sampled.astype(np.float32)
    datum = sequence_to_datum(segment.tokens, sampled)
    return replace(
        datum,
        logprobs=segment.logprobs[1:],
        advantages=np.float32(advantage) * sampled[1:],
        temperature=segment.temperature,
    )
