"""Policy-loss settings. A named method is a row of this table, not a class."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from tunesmith.core.described import Described

Method = Literal["grpo", "dapo", "gspo-token"]
KlEstimator = Literal["k3", "k2", "k3_unbiased"]


class PolicyLoss(Described):
    """Settings of ``losses.policy.policy_loss``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: Literal["token", "sequence"] = "token"
    """Importance ratio per token, or one length-normalised ratio per sequence (GSPO-token)."""
    clip_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The ratio is clipped from below at 1 - clip_low."""
    clip_high: Annotated[float, Field(ge=0)] = 0.2
    """The ratio is clipped from above at 1 + clip_high."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the per-token KL to the reference; 0 needs no reference."""
    kl_estimator: KlEstimator = "k3"
    """Estimator of that KL."""
    aggregate: Literal["token-mean", "sequence-mean"] = "token-mean"
    """Weigh every token alike, or every sequence alike."""


METHODS: dict[Method, PolicyLoss] = {
    "grpo": PolicyLoss(kl_coef=0.001),
    "dapo": PolicyLoss(clip_high=0.28),
    "gspo-token": PolicyLoss(ratio="sequence", clip_low=3e-4, clip_high=4e-4, aggregate="sequence-mean"),
}


def canonical_method(value: Any) -> Any:
    """'GSPO_TOKEN' and 'METHOD_GSPO_TOKEN' are 'gspo-token': case and - / _ do not matter."""
    return value.lower().replace("_", "-").removeprefix("method-") if isinstance(value, str) else value


MethodName = Annotated[Method, BeforeValidator(canonical_method)]


def method_loss(
    method: Method, kl_beta: float = 0.0, kl_estimator: KlEstimator = "k3", length_norm: bool = False
) -> PolicyLoss:
    """The settings of a named method, with the user's KL weight and length normalisation where they apply."""
    if kl_beta and method != "grpo":
        raise ValueError(f"loss_config.kl_beta must be 0/unset when method is {method.upper().replace('-', '_')}")
    changes: dict[str, Any] = {"kl_estimator": kl_estimator}
    if kl_beta:
        changes["kl_coef"] = kl_beta
    if length_norm:
        changes["aggregate"] = "sequence-mean"
    return METHODS[method].model_copy(update=changes)
