"""Pure functions from log-probabilities to one scalar, by name, and the table that says what each needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.errors import unknown
from tunesmith.core.types import PLAIN_SUM
from tunesmith.losses.base import LossFn, LossInputs, LossOutput, check_settings
from tunesmith.losses.evaluate import count, method_settings, pack, run
from tunesmith.losses.policy import policy_loss
from tunesmith.losses.preference import dpo, orpo
from tunesmith.losses.sums import check_own_thresholds, cispo, cross_entropy, dro, gspo, importance_sampling, ppo
from tunesmith.spec.loss import METHODS, canonical_method

LOSSES: dict[str, LossFn] = {
    "policy": policy_loss,
    "cross_entropy": cross_entropy,
    "importance_sampling": importance_sampling,
    "ppo": ppo,
    "cispo": cispo,
    "dro": dro,
    "gspo": gspo,
    "dpo": dpo,
    "orpo": orpo,
}
_OFF_POLICY = frozenset({"old_logprobs", "advantages"})
NEEDS: dict[str, frozenset[str]] = {
    "policy": _OFF_POLICY,
    "importance_sampling": _OFF_POLICY,
    "ppo": _OFF_POLICY,
    "cispo": _OFF_POLICY,
    "dro": _OFF_POLICY,
    "gspo": _OFF_POLICY,
    "dpo": frozenset({"ref_logprobs"}),
}
"""Columns of ``LossInputs`` beyond logprobs and weights that a loss cannot do without."""
PAIRED = frozenset({"dpo", "orpo"})
"""Losses over consecutive pairs of sequences."""
CLIPPED = frozenset({"ppo", "cispo", "gspo"})
"""Losses that take thresholds per token, in ``clip_low`` and ``clip_high``."""
MANY_TARGETS = frozenset({"cross_entropy"})
"""Losses that take [N, K] targets."""


def loss_named(name: str) -> LossFn:
    """The loss of that name.

    Raises:
        UserError: no such loss; lists the known ones.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return LOSSES[name]


def needs(name: str, settings: Mapping[str, Any] | None = None) -> set[str]:
    """Which of old_logprobs, ref_logprobs and advantages a loss reads under these settings.

    Example: needs("policy", {"cfg": METHODS["dapo"]}) -> {"old_logprobs", "advantages"}; grpo adds "ref_logprobs".
    """
    loss_named(name)
    weight = getattr((settings or {}).get("cfg"), "kl_coef", 0)  # a cfg of another kind is refused by the loss itself
    reference = {"ref_logprobs"} if weight else set()
    return set(NEEDS.get(name, ())) | reference


def sequences_together(name: str) -> int:
    """How many consecutive sequences must share a micro-batch: 2 for the losses over pairs, else 1."""
    return 2 if name in PAIRED else 1


def evaluate(method: str, sequences: Sequence[Mapping[str, Any]], **settings: Any) -> dict[str, Any]:
    """Compute a loss exactly as training does, in float64, on numbers you can check by hand.

    Example: evaluate("grpo", [{"logprobs": [-1.0], "old_logprobs": [-1.0], "advantages": [1.0]}], kl_coef=0)
        -> {"loss": -1.0, "gradients": [[-1.0]], "metrics": {"policy/clip_share": 0.0, ...}}

    Args:
        method: grpo, dapo, gspo-token, or a name in ``LOSSES``; case and - / _ do not matter.
        sequences: one dict per response with per-token lists: logprobs, and as the loss needs them old_logprobs,
            ref_logprobs (nats) and advantages; weights default to 1. Where wanted clip_low and clip_high (ratios; for
            ppo, cispo and gspo) and ratio_mask (gspo). Pairs for dpo and orpo: better, worse, better...
        settings: for a method kl_beta, length_norm and the fields of ``PolicyLoss``; else those of the loss.

    Returns:
        loss; gradients, d loss / d logprobs, one list per sequence; metrics. Methods are divided by the trained
        tokens or sequences, dpo and orpo by the pairs, the losses of the Training API by nothing.

    Raises:
        UserError: names the sequence and column, or the setting, that cannot be used.
    """
    policy, name = canonical_method(method), method.lower().replace("-", "_")
    if policy in METHODS:
        name, settings = "policy", {"cfg": method_settings(policy, settings)}
    elif name not in LOSSES:
        raise unknown("method", method, [*METHODS, *LOSSES])
    check_settings(LOSSES[name], settings)
    x = pack(sequences, needs(name, settings), settings if name in CLIPPED else None)
    counted = count(x, sequences_together(name))
    norm = counted if name == "policy" or name in PAIRED else PLAIN_SUM
    return run(LOSSES[name], x, norm, settings)


__all__ = [
    "CLIPPED",
    "LOSSES",
    "MANY_TARGETS",
    "NEEDS",
    "LossFn",
    "LossInputs",
    "LossOutput",
    "check_own_thresholds",
    "check_settings",
    "evaluate",
    "loss_named",
    "needs",
    "sequences_together",
]
