"""What an update saw of every token: by hand, and as the loss itself counts it."""

import numpy as np
import pytest
import torch

from tunesmith.core.types import Group, Norm, Rollout, Score, Segment
from tunesmith.losses import LossInputs, loss_named
from tunesmith.recipes.assemble import assemble
from tunesmith.recipes.ratios import token_updates
from tunesmith.spec import METHODS


def attempt(reward, *segments):
    """Each segment: a prompt of two tokens and so many sampled ones, at -1 nat."""
    made = tuple(
        Segment(
            np.arange(2 + n, dtype=np.int32),
            np.arange(2 + n) >= 2,
            np.array([0, 0] + [-1] * n, np.float32),
        )
        for n in segments
    )
    return Rollout(made, "text", 0, "stop", Score(reward))


def test_ratios_and_clips_of_grpo_by_hand():
    """Advantages 0.707 and -0.707; p/q = 1.5 is clipped where it helps, 0.5 where it hurts."""
    groups = [Group("a", {}, (attempt(1.0, 2, 1), attempt(0.0, 2))), Group("b", {}, (attempt(1.0, 1), attempt(1.0, 1)))]
    assembled = assemble(groups)
    steps = [np.log([1.5, 0.5]), np.log([1.1]), np.log([1.5, 0.5])]
    scored = [np.concatenate([[0], np.float32(-1 + d)]).astype(np.float32) for d in steps]
    (first, second), (dropped, _) = token_updates(groups, assembled, scored, METHODS["grpo"])
    assert first.ratios.tolist() == pytest.approx([0, 0, 1.5, 0.5, 0, 0, 1.1])
    assert first.clipped.tolist() == [False, False, True, False, False, False, False]
    assert second.clipped.tolist() == [False, False, False, True]
    assert dropped is None


@pytest.mark.parametrize("method", METHODS)
def test_as_many_are_clipped_as_the_loss_says(method):
    loss = METHODS[method].model_copy(update={"kl_coef": 0.0, "aggregate": "token-mean"})
    rng = np.random.default_rng(3)
    groups = [Group(str(i), {}, tuple(attempt(float(r), 5) for r in rng.normal(size=6))) for i in range(8)]
    assembled = assemble(groups)
    scored = [np.where(d.weights != 0, -1 + rng.normal(0, 0.2, 6), 0).astype(np.float32) for d in assembled.data]
    updates = [u for group in token_updates(groups, assembled, scored, loss) for u in group]
    columns = {"old_logprobs": "logprobs", "advantages": "advantages"}
    x = LossInputs(
        torch.from_numpy(np.concatenate(scored)),
        torch.from_numpy(np.concatenate([d.weights for d in assembled.data])),
        torch.from_numpy(np.repeat(np.arange(48), 6)),
        48,
        **{
            to: torch.from_numpy(np.concatenate([getattr(d, of) for d in assembled.data])) for to, of in columns.items()
        },
    )
    told = loss_named("policy")(x, Norm(240.0, 48.0), cfg=loss).metrics
    assert told["policy/clip_share"].item() > 0.1
    assert sum(u.clipped.sum() for u in updates) / 240 == pytest.approx(told["policy/clip_share"].item(), rel=1e-5)
    assert sum(u.ratios.sum() for u in updates) / 240 == pytest.approx(told["policy/ratio_mean"].item(), rel=1e-5)
