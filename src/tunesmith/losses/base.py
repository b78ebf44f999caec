"""What every loss sees and returns: log-probabilities in, one scalar out; never logits, models or job settings.

Shapes: N = packed target tokens, S = sequences. All log-probabilities are natural, of the softmax at the rollout's
temperature over the whole vocabulary.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from torch import Tensor

from tunesmith.core.errors import UserError, unknown
from tunesmith.core.types import Norm

MAX_LOG_RATIO = 20.0
"""Log-ratios are held within +-20 before exp, so that no single token can overflow a step."""


@dataclass(frozen=True, slots=True)
class LossInputs:
    """One micro-batch, packed: N target tokens of S sequences laid end to end, no padding.

    Example: a prompt token and two sampled tokens, then a second response of one token ->
        weights=[0, 1, 1, 1], segment=[0, 0, 0, 1], num_sequences=2
    """

    logprobs: Tensor
    """[N] ln p(target) under the policy being trained, nats; carries the gradient. [N, K] for cross_entropy alone."""
    weights: Tensor
    """Shape of logprobs: loss weight; 0 leaves the token out."""
    segment: Tensor
    """[N] int64, which of the S sequences a token belongs to; non-decreasing from 0."""
    num_sequences: int
    """S, given rather than read from ``segment``, which would wait for the device."""
    old_logprobs: Tensor | None = None
    """[N] under the policy that sampled, nats."""
    ref_logprobs: Tensor | None = None
    """[N] under the frozen reference, nats."""
    advantages: Tensor | None = None
    """[N] reward units."""
    clip_low: Tensor | None = None
    """[N] lowest ratio, NaN where the loss's own setting holds."""
    clip_high: Tensor | None = None
    """[N] highest ratio, likewise."""
    ratio_mask: Tensor | None = None
    """[N] not 0 where a token counts for the ratio of its sequence; None: where its weight is not 0."""

    def per_sequence(self, x: Tensor) -> Tensor:
        """[N] -> [S]: sum of x over the tokens of each sequence."""
        return x.new_zeros(self.num_sequences).index_add(0, self.segment, x)

    def lengths(self) -> Tensor:
        """[S] trained tokens (weight not 0) of each sequence; 1 where there are none, so that it can divide."""
        return self.per_sequence(self.trained()).clamp(min=1)

    def trained(self) -> Tensor:
        """[N] 1 where the token has a weight, else 0."""
        return (self.weights != 0).to(self.logprobs.dtype)


@dataclass(frozen=True, slots=True)
class LossOutput:
    """What one micro-batch adds to the step."""

    loss: Tensor
    """Scalar; the losses of a step's micro-batches add up to the loss of the step."""
    metrics: dict[str, Tensor]
    """Detached scalars that add up likewise; the trainer reads them once a step."""


LossFn = Callable[..., LossOutput]
"""(LossInputs, Norm, **settings) -> LossOutput: a pure function that never waits for the device."""

Settings = ParamSpec("Settings")


def ratio_of(log_ratio: Tensor) -> Tensor:
    """exp of a log-ratio held within +-20; outside, the ratio is constant and its gradient 0."""
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def checked(
    loss: Callable[Concatenate[LossInputs, Norm, Settings], LossOutput],
) -> Callable[Concatenate[LossInputs, Norm, Settings], LossOutput]:
    """Make a loss refuse an empty step and settings that are unknown, missing or of the wrong kind, as UserErrors.

    The known settings and their kinds are the loss's own keyword arguments and annotations.
    """
    name = loss.__name__.removesuffix("_loss")
    known = dict(list(inspect.signature(loss).parameters.items())[2:])

    @wraps(loss)
    def refusing(x: LossInputs, norm: Norm, /, *args: Settings.args, **settings: Settings.kwargs) -> LossOutput:
        if not (norm.tokens > 0 and norm.sequences > 0):
            given = f"{norm.tokens:g} tokens and {norm.sequences:g} sequences to divide by"
            raise UserError(f"loss {name}", given, "Train at least one token; check the weights of the data")
        _check_settings(name, known, len(args), settings)
        return loss(x, norm, *args, **settings)

    return refusing


def check_settings(loss: LossFn, settings: Mapping[str, Any]) -> None:
    """Refuse settings as the loss itself would, before anything is computed."""
    known = dict(list(inspect.signature(loss).parameters.items())[2:])
    _check_settings(loss.__name__.removesuffix("_loss"), known, 0, settings)


def _check_settings(
    name: str, known: Mapping[str, inspect.Parameter], num_positional: int, settings: Mapping[str, Any]
) -> None:
    for setting, value in settings.items():
        if setting not in known:
            if known:
                raise unknown(f"loss {name}", setting, known)
            raise UserError(f"loss {name}", f"unknown {setting!r}", "This loss takes no settings")
        kind = known[setting].annotation
        if not (_is_number(value) if kind is float else isinstance(value, kind)):
            wanted = "a finite number" if kind is float else f"a {kind.__name__}"
            raise UserError(f"loss {name}, {setting}", f"must be {wanted} (got {value!r})", f"Give {wanted}")
    for parameter in list(known.values())[num_positional:]:
        if parameter.default is parameter.empty and parameter.name not in settings:
            raise UserError(f"loss {name}", f"setting {parameter.name!r} is missing", f"Known: {', '.join(known)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["MAX_LOG_RATIO", "LossFn", "LossInputs", "LossOutput", "Norm", "check_settings", "checked", "ratio_of"]
