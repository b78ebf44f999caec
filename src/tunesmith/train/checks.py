"""What the trainer refuses before it computes anything, by the datum's number."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.core.types import Datum
from tunesmith.losses import CLIPPED, MANY_TARGETS, check_own_thresholds, check_settings, loss_named, needs

PER_TOKEN = ("logprobs", "ref_logprobs", "advantages", "clip_low", "clip_high", "ratio_mask")
"""Columns of one number per token, each of which a datum may lack."""


def check_shapes(data: Sequence[Datum], vocab: int) -> None:
    """A column that is shorter than the tokens would otherwise train fewer of them without a word.

    Raises:
        UserError: a datum without tokens, a column of another length, weights in another shape than targets, or ids
            that are not among the model's ``vocab``.
    """
    for i, d in enumerate(data):
        if not len(d.tokens):
            raise UserError(f"datum {i}", "has no tokens", "A sequence needs two tokens or more: one predicts the next")
        for name in ("targets", "weights", *PER_TOKEN):
            column = getattr(d, name)
            if column is not None and len(column) != len(d.tokens):
                problem = f"{name} holds {len(column)} numbers for {len(d.tokens)} tokens"
                raise UserError(f"datum {i}", problem, "Give every column one number per token")
            if name in PER_TOKEN and column is not None and column.ndim != 1:
                mend = "Give one number per token; only targets and weights may be [T, K]"
                raise UserError(f"datum {i}", f"{name} has the shape {column.shape}", mend)
        _check_ids(f"datum {i}", d, vocab)


def _check_ids(where: str, d: Datum, vocab: int) -> None:
    if d.targets.ndim not in (1, 2) or not d.targets.size:
        raise UserError(where, f"targets have the shape {d.targets.shape}", "Give [T] targets, or [T, K] with K >= 1")
    if d.weights.shape != d.targets.shape:
        problem = f"weights have the shape {d.weights.shape}, targets {d.targets.shape}"
        raise UserError(where, problem, "Give every target one weight")
    for name, ids in (("tokens", d.tokens), ("targets", d.targets)):
        if ids.min() < 0 or ids.max() >= vocab:
            problem = f"{name} holds the id {ids[(ids < 0) | (ids >= vocab)][0]}, and the model's are 0 to {vocab - 1}"
            raise UserError(where, problem, "Use the tokenizer of the base model")


def check_loss(data: Sequence[Datum], loss: str, settings: Mapping[str, Any], all_tokens: bool) -> None:
    """Refuse what would train wrongly.

    Raises:
        UserError: an unknown loss or setting, missing columns, several targets per token or thresholds that the loss
            cannot take, non-finite numbers, and, unless ``all_tokens``, nothing to train in any datum.
    """
    check_settings(loss_named(loss), settings)
    columns = needs(loss, settings)
    for i, d in enumerate(data):
        where = f"datum {i}"
        if d.targets.ndim == 2 and loss not in MANY_TARGETS:
            problem = f"targets have the shape {d.targets.shape}, and loss {loss} takes one per token"
            raise UserError(where, problem, f"Give [T] targets, or use {' or '.join(sorted(MANY_TARGETS))}")
        _check_numbers(where, d, columns)
        if loss in CLIPPED:
            check_own_thresholds(where, d.clip_low, d.clip_high, settings)
    if not any(d.weights.any() for d in data) and not (all_tokens and data):
        raise UserError("data", "no token has a weight: nothing would be trained", "Check the rows' weights and masks")


def _check_numbers(where: str, d: Datum, columns: Set[str]) -> None:
    for name in ("weights", *PER_TOKEN):
        column = getattr(d, name)
        if column is None and (name if name != "logprobs" else "old_logprobs") in columns:
            raise UserError(where, f"has no {name}, which this loss needs", f"Fill in Datum.{name}")
        if column is not None and not np.isfinite(column).all():
            raise UserError(where, f"{name} holds a number that is not finite", "Leave this row out")
