"""What a policy update saw of every token: its ratio, and whether the clip stopped it. As ``losses.policy`` has it."""

from collections.abc import Sequence

import numpy as np

from tunesmith.core.shift import column_of_segment
from tunesmith.core.types import Bools, Datum, Floats, Group
from tunesmith.recipes.assemble import Assembled
from tunesmith.recipes.report import TokenUpdate
from tunesmith.spec.loss import PolicyLoss

MAX_LOG_RATIO = 20.0
"""As the loss bounds it."""


def token_updates(
    groups: Sequence[Group], assembled: Assembled, scored: Sequence[Floats], loss: PolicyLoss
) -> list[list[TokenUpdate | None]]:
    """Per group, per rollout; None for those that were not trained on.

    Args:
        scored: log-probabilities of the assembled data, each from the forward pass of its own update.
    """
    columns = iter([_seen(d, p, loss) for d, p in zip(assembled.data, scored, strict=True)])
    out: list[list[TokenUpdate | None]] = []
    for group, judged in zip(groups, assembled.judged, strict=True):
        out.append([])
        for rollout, (advantage, dropped) in zip(group.rollouts, judged, strict=True):
            trained = advantage is not None and not dropped
            parts = [next(columns) for _ in rollout.segments] if trained else []
            whole = TokenUpdate(*map(np.concatenate, zip(*parts, strict=True))) if parts else None
            out[-1].append(whole)
    return out


def _seen(datum: Datum, logprobs: Floats, loss: PolicyLoss) -> tuple[Floats, Bools]:
    """([L] ratios, [L] where they are clipped) of a segment."""
    assert datum.logprobs is not None and datum.advantages is not None, "policy data have both"
    trained = datum.weights != 0
    log_ratio = np.where(trained, logprobs - datum.logprobs, 0)
    if loss.ratio == "sequence":
        log_ratio = np.where(trained, log_ratio.sum() / max(1, np.count_nonzero(trained)), 0)
    ratios = np.where(trained, np.exp(np.minimum(log_ratio, MAX_LOG_RATIO)), 0).astype(np.float32)
    low, high = 1 - loss.clip_low, 1 + loss.clip_high
    stopped = ((ratios > high) & (datum.advantages > 0)) | ((ratios < low) & (datum.advantages < 0))
    return column_of_segment(ratios), column_of_segment(stopped & trained)
