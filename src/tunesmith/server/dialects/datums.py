"""From what a wire carries, tokens and named tensors, to a Datum: every mistake is refused here, with its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tunesmith.core.errors import UserError, unknown
from tunesmith.core.types import Datum, Floats, Ints, Norm, Routes
from tunesmith.services.sessions.shape import Managed
from tunesmith.spec.loss import PolicyLoss

Array = NDArray[Any]
_POLICY = frozenset({"logprobs", "advantages"})
_CLIPPED = frozenset({"clip_low_threshold", "clip_high_threshold"})
_MASKS = frozenset({"weights", "mask"})
ROUTING = "routing_matrices"
"""Which experts every input token goes to; any loss takes it."""


@dataclass(frozen=True, slots=True)
class LossInputs:
    """Tensors that a loss takes beside target_tokens, and the settings it takes."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()
    runs_as: str = ""
    """Name of the loss in ``tunesmith.losses`` where it is another."""


LOSSES: Mapping[str, LossInputs] = {
    "cross_entropy": LossInputs(optional=frozenset({"weights"})),
    "importance_sampling": LossInputs(_POLICY, _MASKS),
    "ppo": LossInputs(_POLICY, _MASKS | _CLIPPED, _CLIPPED),
    "cispo": LossInputs(_POLICY, _MASKS | _CLIPPED, _CLIPPED),
    "dro": LossInputs(_POLICY, _MASKS, frozenset({"beta"})),
    "gspo": LossInputs(_POLICY, _MASKS | _CLIPPED | {"sequence_ratio_mask"}, _CLIPPED),
    # Ours: the loss of managed jobs, with the settings of ``tunesmith.spec.loss.PolicyLoss`` and divided sums.
    "policy": LossInputs(optional=_POLICY | {"weights", "ref_logprobs", "temperature"}),
    # Its objective is not published: importance sampling within PPO's bounds stands in, and the client is told.
    "stable_reinforce": LossInputs(_POLICY, _MASKS | _CLIPPED, _CLIPPED | {"kl_coeff"}, runs_as="ppo"),
}


def loss_inputs(loss: str) -> LossInputs:
    """What a loss of the wire takes; unknown names are refused with the nearest known one."""
    if loss not in LOSSES:
        raise unknown("loss_fn", loss, LOSSES)
    return LOSSES[loss]


def check_settings(loss: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """The settings of a loss, in the words of ``tunesmith.losses``."""
    known = loss_inputs(loss).settings
    for name, value in settings.items():
        if name not in known:
            if known:
                raise unknown(f"loss_fn_config of {loss}", name, known)
            raise UserError(f"loss_fn_config of {loss}", f"unknown {name!r}", "This loss takes no settings")
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise UserError(f"loss_fn_config.{name}", f"is no finite number (got {value!r})", "Give a number")
    if settings.get("kl_coeff"):
        mend = "Leave kl_coeff out, or take a KL penalty in the rewards"
        raise UserError("loss_fn_config.kl_coeff", "the substitute for stable_reinforce has no KL term", mend)
    return {name: float(value) for name, value in settings.items() if name != "kl_coeff"}


def managed_settings(config: Mapping[str, Any]) -> tuple[dict[str, Any], Managed]:
    """Settings of the ``policy`` loss: fields of ``PolicyLoss``, and norm_tokens, norm_sequences, reference."""
    given = dict(config)
    norm = Norm(float(given.pop("norm_tokens", 1.0)), float(given.pop("norm_sequences", 1.0)))
    reference = bool(given.pop("reference", 0))
    try:
        return {"cfg": PolicyLoss(**given)}, Managed(norm, reference)
    except ValidationError as e:
        first = e.errors()[0]
        known = ", ".join([*PolicyLoss.model_fields, "norm_tokens", "norm_sequences", "reference"])
        raise UserError(f"loss_fn_config.{first['loc'][0]}", first["msg"], f"Known: {known}") from None


def to_datum(where: str, loss: str, tokens: Ints, tensors: Mapping[str, Array], vocab: int, context: int) -> Datum:
    """One training sequence, checked.

    Args:
        where: names the datum in refusals, such as ``data[3]``.
        tokens: [T] model input.
        tensors: target_tokens [T] or [T, K] and what the loss needs, in the same shape; and ``ROUTING`` [T, layers, k]
            where the experts of a sampler are to be replayed, -1 leaving a token to the router.

    Raises:
        UserError: unknown, missing or misshapen tensors, ids out of the vocabulary, numbers that are not finite.
    """
    inputs = loss_inputs(loss)
    known = {"target_tokens", *inputs.required, *inputs.optional, ROUTING}
    for name in tensors:
        if name not in known:
            raise unknown(f"{where}.loss_fn_inputs", name, known)
    for name in ("target_tokens", *sorted(inputs.required)):
        if name not in tensors:
            raise UserError(f"{where}.loss_fn_inputs", f"{name} is missing", f"{loss} needs it")
    if not 1 <= len(tokens) <= context:
        problem = f"holds {len(tokens)} tokens"
        raise UserError(f"{where}.model_input", problem, f"Give 1 to {context}, the model's context")
    targets = _ids(f"{where}.loss_fn_inputs.target_tokens", tensors["target_tokens"], vocab)
    _check_shape(f"{where}.loss_fn_inputs.target_tokens", targets, len(tokens), loss)
    temperature = _temperature(where, tensors) if "temperature" in tensors else 1.0
    routing = _routes(where, tensors[ROUTING], len(tokens)) if ROUTING in tensors else None
    columns = {
        name: _numbers(f"{where}.loss_fn_inputs.{name}", tensor, targets.shape)
        for name, tensor in tensors.items()
        if name not in ("target_tokens", "temperature", ROUTING)
    }
    return Datum(
        tokens=_ids(f"{where}.model_input", tokens, vocab),
        targets=targets,
        weights=_weights(loss, columns, targets.shape),
        logprobs=columns.get("logprobs"),
        advantages=columns.get("advantages"),
        ref_logprobs=columns.get("ref_logprobs"),
        temperature=temperature,
        clip_low=columns.get("clip_low_threshold"),
        clip_high=columns.get("clip_high_threshold"),
        ratio_mask=columns.get("sequence_ratio_mask"),
        routing=routing,
    )


def _weights(loss: str, columns: Mapping[str, Floats], shape: tuple[int, ...]) -> Floats:
    """Weights as given; without any, a policy loss leaves out the prompt, where both its columns are 0."""
    for name in ("weights", "mask"):
        if name in columns:
            return columns[name]
    if loss in ("cross_entropy", "policy"):
        return np.ones(shape, np.float32)
    replied: Floats = ((columns["logprobs"] != 0) | (columns["advantages"] != 0)).astype(np.float32)
    return replied


def _temperature(where: str, tensors: Mapping[str, Array]) -> float:
    values = tensors["temperature"]
    if values.size != 1 or not 0 < float(values.flat[0]) < np.inf:
        raise UserError(f"{where}.loss_fn_inputs.temperature", "is not one number above 0", "Give that of the rollout")
    return float(values.flat[0])


def _check_shape(where: str, targets: Ints, length: int, loss: str) -> None:
    if targets.ndim not in (1, 2) or len(targets) != length or not targets.size:
        problem = f"has shape {list(targets.shape)} for {length} tokens"
        raise UserError(where, problem, f"Give [{length}] or, for cross_entropy, [{length}, K]")
    if targets.ndim == 2 and loss != "cross_entropy":
        raise UserError(where, f"is two-dimensional, which {loss} does not take", f"Give [{length}]")


def _ids(where: str, values: Array, vocab: int) -> Ints:
    if values.dtype.kind not in "iu":
        raise UserError(where, f"holds {values.dtype}, not integers", "Send dtype int64")
    if values.size and (values.min() < 0 or values.max() >= vocab):
        bad = int(values[(values < 0) | (values >= vocab)].flat[0])
        raise UserError(where, f"token {bad} is not in the vocabulary", f"Ids of this model are 0 to {vocab - 1}")
    return values.astype(np.int32)


def _routes(where: str, values: Array, length: int) -> Routes:
    """Which of them the model has is checked where the model is."""
    where = f"{where}.loss_fn_inputs.{ROUTING}"
    if values.dtype.kind not in "iu" or values.ndim != 3 or len(values) != length or not values.size:
        problem = f"is {values.dtype} of shape {list(values.shape)}"
        raise UserError(where, problem, f"Send int64 [{length}, sparse layers, experts per token]")
    if values.min() < -1 or values.max() > np.iinfo(np.int16).max:
        raise UserError(where, "holds a number that is no expert", "Give ids from 0 up, or -1 for the router's own")
    return values.astype(np.int16)


def _numbers(where: str, values: Array, shape: tuple[int, ...]) -> Floats:
    if values.shape != shape:
        raise UserError(where, f"has shape {list(values.shape)}", f"Give the shape of target_tokens, {list(shape)}")
    if not np.isfinite(values).all():
        raise UserError(where, "holds a number that is not finite", "Leave this datum out, or mend the number")
    with np.errstate(over="ignore"):
        floats: Floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise UserError(where, "holds a number beyond float32", "Scale it down")
    return floats
