"""Rules about the policy itself: do its weights move, how far, and is the sampler the same policy as the trainer."""

import math

from tunesmith.core.types import Finding
from tunesmith.health.advice import double, finding, half_whole, propose, slower
from tunesmith.health.history import WINDOW, History, Settings, ends, recent, series

PER_TOKEN = 0.01
"""Nats per token to the start below which no response length makes drift worth a word."""
PER_RESPONSE = 10.0
"""Nats per response below which it is not either: picking the best of 60,000 of one's own attempts moves as far."""
TIMES_NEEDED = 10.0
"""Drift in multiples of what the reward gained needs at the least."""
AFTER_UPDATE = 0.02
"""Nats per token between the policy that sampled a step and the one that the step's updates left."""
MANY_UPDATES = 8
"""Updates of a step from which on it is their number that carries the policy away, not the size of one."""
MOST_CLIPPED = {"gspo-token": 0.5}
"""Share of clipped tokens at a chunk's last update above which its rollouts are stale; other methods: below."""
MOST_CLIPPED_ELSE = 0.1


def weights_not_moving(history: History, settings: Settings) -> Finding | None:
    """An optimizer update left the weights as they were: the run looks alive and learns nothing."""
    moved = series(history, "optim/weight_change")
    signal = recent(history, "rollout/signal_share")
    starting = len(moved) == 1 and settings.get("learning_rate_warmup_steps", 0) > 0
    if not moved.values or moved.values[-1] != 0 or signal.values[-1:] == (0,) or starting:
        return None
    norm = series(history, "optim/grad_norm").at(moved.steps[-1])
    saw = f"weight change 0 at step {moved.steps[-1]}" + ("" if norm is None else f", gradient norm {norm:.2e}")
    change = propose(
        settings,
        "the update is no longer lost in rounding",
        ("learning_rate", lambda rate: min(10 * rate, 5e-4)),
        by_hand=("learning_rate", "raise it"),
    )
    return finding("weights_not_moving", "error", history, saw, change)


def sampler_gap(history: History, settings: Settings) -> Finding | None:
    """Sampler and trainer disagree on the probability of the same tokens, so the gradient is off."""
    gap = series(history, "gap/max").last(1)
    if not gap.values or gap.values[-1] <= 1e-5:
        return None
    saw = f"log-probabilities of fresh rollouts differ by up to {gap.values[-1]:.1e} nats"
    if gap.values[-1] <= 1e-3:
        expect = "in fp32 the limit is 1e-5 and this is a defect"
        change = propose(settings, expect, by_hand=("base_model", "nothing in bf16 or fp16, where rounding does this"))
        return finding("sampler_gap", "info", history, saw, change)
    expect = "rounding falls below 1e-5, a defect stays"
    change = propose(settings, expect, by_hand=("base_model", "compute in fp32 to see which it is"))
    return finding("sampler_gap", "warning", history, saw, change)


def kl_drift(history: History, settings: Settings) -> Finding | None:
    """The policy moved much further from its start than the reward it gained needs; it may be forgetting."""
    kl, length = recent(history, "policy/kl_ref"), recent(history, "rollout/length_mean")
    if len(kl) < WINDOW or not length.values or kl.mean() <= PER_TOKEN:
        return None
    spent, needed = kl.mean() * length.mean(), _needed(history)
    if spent <= max(PER_RESPONSE, TIMES_NEEDED * needed):
        return None
    saw = f"{spent:.1f} nats per response to the starting weights ({kl.mean():.4f} per token)"
    saw += f"; the reward gained needs {needed:.1f}"
    expect = "the policy stays nearer to its start"
    if settings.get("rl_loss_method") == "grpo":
        strong = propose(
            settings,
            expect,
            ("rl_kl_beta", lambda beta: 10 * (beta or 0.001)),
            by_hand=("rl_kl_beta", "raise it"),
        )
        return finding("kl_drift", "warning", history, saw, strong)
    return finding("kl_drift", "warning", history, saw, slower(settings, expect))


def big_updates(history: History, settings: Settings) -> Finding | None:
    """One step's updates leave the policy far from the one that sampled: the loss is only a guide near it."""
    moved = recent(history, "kl_post_train")
    if len(moved) < WINDOW or moved.mean() <= AFTER_UPDATE:
        return None
    saw = f"{moved.mean():.3f} nats per token between before and after a step's updates, over {WINDOW} steps"
    return finding("big_updates", "warning", history, saw, slower(settings, "each step stays where its loss holds"))


def stale_rollouts(history: History, settings: Settings) -> Finding | None:
    """By a chunk's last update the policy has left its rollouts behind, and the clip throws them away."""
    clipped, ratio = recent(history, "policy/clip_share_last"), recent(history, "policy/ratio_mean_last")
    updates, moved = recent(history, "optim/updates"), recent(history, "kl_post_train")
    most = MOST_CLIPPED.get(str(settings.get("rl_loss_method")), MOST_CLIPPED_ELSE)
    if len(clipped) < WINDOW or not updates.values or updates.mean() < 2:
        return None
    far = bool(moved.values) and moved.mean() > AFTER_UPDATE and updates.mean() >= MANY_UPDATES
    if clipped.mean() <= most and not far:
        return None
    saw = f"{clipped.mean():.0%} of tokens clipped at the last of {updates.mean():.0f} updates of a step"
    saw += f", mean ratio {ratio.mean():.3f}" if ratio.values else ""
    saw += f", {moved.mean():.3f} nats per token from its rollouts" if far else ""
    change = propose(
        settings,
        "fewer updates per rollout, so that each sees a policy near its own",
        ("chunk_size", lambda size: half_whole(size) if size > 1 else size),
        ("batch_size", double),
        by_hand=("chunk_size", "lower it"),
    )
    return finding("stale_rollouts", "warning", history, saw, change)


def _needed(history: History) -> float:
    """Least KL, in nats per response, by which a mean reward can go from its first to its present value.

    Whatever a policy does, kl(now || start) of the two means, as if of coins, is a lower bound: KL cannot grow when
    responses are reduced to pass or fail (data processing), and averaging over prompts only lowers it (convexity).
    """
    both = ends(history, "rollout/reward_mean")
    if both is None:
        return 0.0
    start, now = (min(max(x, 0.01), 0.99) for x in both)
    return now * math.log(now / start) + (1 - now) * math.log((1 - now) / (1 - start)) if now > start else 0.0
