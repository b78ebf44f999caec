"""From plain lists of numbers to one loss, its gradients and metrics in float64, as ``tunesmith.losses.evaluate``."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from tunesmith.core.errors import UserError, unknown
from tunesmith.core.types import Norm
from tunesmith.losses.base import LossFn, LossInputs
from tunesmith.losses.sums import check_own_thresholds
from tunesmith.spec.loss import Method, PolicyLoss, method_loss

OPTIONAL = ("clip_low", "clip_high", "ratio_mask")
"""Columns that a sequence may have although others do not."""
COLUMNS = ("logprobs", "weights", "old_logprobs", "ref_logprobs", "advantages", *OPTIONAL)
_STANDS_FOR = {"kl_beta": "kl_coef", "length_norm": "aggregate"}


class MethodSettings(PolicyLoss):
    """What may be laid over a named method: any field of ``PolicyLoss``, or a job's own word for it."""

    kl_beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """A job's rl_kl_beta: weight of the KL to the reference, grpo only; 0 is the method's own."""
    length_norm: bool = False
    """A job's length_norm: average within each response first."""


def method_settings(method: Method, settings: Mapping[str, Any]) -> PolicyLoss:
    """A named method with settings laid over it.

    Raises:
        UserError: an unknown setting, a value out of bounds, or two words for the same thing.
    """
    for name in settings:
        if name not in MethodSettings.model_fields:
            raise unknown(f"method {method}", name, MethodSettings.model_fields)
        if _STANDS_FOR.get(name) in settings:
            problem = f"{name} and {_STANDS_FOR[name]} set the same thing"
            raise UserError(f"method {method}", problem, f"Give {name} or {_STANDS_FOR[name]}")
    try:
        given = MethodSettings(**settings)
        named = method_loss(method, given.kl_beta, length_norm=given.length_norm)
    except ValidationError as e:
        first = e.errors()[0]
        problem = f"{first['msg']} (got {first['input']!r})"
        raise UserError(f"method {method}, {first['loc'][0]}", problem, "See: docs/losses.md") from None
    except ValueError as e:
        raise UserError(f"method {method}, kl_beta", str(e), "Leave kl_beta out, or use grpo") from None
    overrides = given.model_dump(include=given.model_fields_set - set(_STANDS_FOR))
    return named.model_copy(update=overrides)


def pack(
    sequences: Sequence[Mapping[str, Any]], needed: Collection[str], clip_settings: Mapping[str, Any] | None = None
) -> LossInputs:
    """Lay sequences end to end in float64.

    Args:
        needed: columns that no sequence may lack.
        clip_settings: settings of a loss that clips per token; None where it does not.

    Raises:
        UserError: naming the sequence and its column, for anything that is not one finite number per token.
    """
    if not sequences:
        raise UserError("sequences", "there are none", "Give one dict of per-token lists per response")
    rows = [_columns(f"sequences[{i}]", sequence, needed) for i, sequence in enumerate(sequences)]
    if clip_settings is not None:
        for i, row in enumerate(rows):
            check_own_thresholds(f"sequences[{i}]", row.get("clip_low"), row.get("clip_high"), clip_settings)
    _fill(rows)
    present = set(rows[0]).intersection(*rows)
    packed = {name: torch.from_numpy(np.concatenate([row[name] for row in rows])) for name in present}
    lengths = torch.tensor([len(row["logprobs"]) for row in rows])
    segment = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    logprobs = packed.pop("logprobs").requires_grad_()
    return LossInputs(logprobs, packed.pop("weights"), segment, len(rows), **packed)


def _fill(rows: Sequence[dict[str, NDArray[np.float64]]]) -> None:
    """Give every sequence the optional columns that any has, saying what their absence says."""
    for name in OPTIONAL:
        if any(name in row for row in rows):
            for row in rows:
                absent = row["weights"] != 0 if name == "ratio_mask" else np.full(len(row["weights"]), np.nan)
                row.setdefault(name, absent.astype(np.float64))


def count(x: LossInputs, sequences_together: int) -> Norm:
    """Trained tokens, and trained sequences or pairs, as training counts them; a pair needs both its answers."""
    trained = x.per_sequence(x.trained())
    empty = (trained == 0).nonzero().flatten().tolist()
    if len(empty) == x.num_sequences or (empty and sequences_together > 1):
        raise UserError(
            f"sequences[{empty[0]}].weights", "no token is trained", "Give at least one weight other than 0"
        )
    return Norm(float(trained.sum()), (x.num_sequences - len(empty)) / sequences_together)


def run(loss: LossFn, x: LossInputs, norm: Norm, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One loss on packed sequences -> plain numbers: loss, gradients of the log-probabilities, metrics."""
    out = loss(x, norm, **settings)
    (gradient,) = torch.autograd.grad(out.loss, x.logprobs)
    metrics = {name: float(value) for name, value in out.metrics.items()}
    return {"loss": float(out.loss.detach()), "gradients": _unpack(gradient, x), "metrics": metrics}


def _unpack(column: Tensor, x: LossInputs) -> list[list[float]]:
    lengths = torch.bincount(x.segment, minlength=x.num_sequences).tolist()
    return [part.tolist() for part in column.split(lengths)]


def _columns(where: str, sequence: Mapping[str, Any], needed: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """The columns of one sequence, checked against one another; weights are 1 where none are given."""
    if not isinstance(sequence, Mapping):
        raise UserError(where, f"not a dict of columns (got {sequence!r:.80})", f"Known columns: {', '.join(COLUMNS)}")
    for name in sequence:
        if name not in COLUMNS:
            raise unknown(where, name, COLUMNS)
    for name in ("logprobs", *sorted(needed)):
        if name not in sequence:
            raise UserError(where, f"{name} are missing", f"Give one number per token in {name!r}")
    columns = {name: _numbers(f"{where}.{name}", values) for name, values in sequence.items()}
    columns.setdefault("weights", np.ones(len(columns["logprobs"])))
    for name, values in columns.items():
        if len(values) != len(columns["logprobs"]):
            problem = f"{len(values)} numbers for {len(columns['logprobs'])} logprobs"
            raise UserError(f"{where}.{name}", problem, "Give every column one number per token")
    return columns


def _numbers(where: str, values: Any) -> NDArray[np.float64]:
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise UserError(where, f"not a list of numbers (got {values!r:.80})", "Give one number per token") from None
    if column.ndim != 1 or not column.size:
        raise UserError(where, f"not a list of numbers (got {values!r:.80})", "Give one number per token")
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise UserError(where, f"{column[bad[0]]} at token {bad[0]}", "Give finite numbers, also where the weight is 0")
    return column
