"""Rules about the curve of a run: does it rise, fall back, stand still, or rise only on what it was trained on."""

import math

from tunesmith.core.types import Finding, Level
from tunesmith.health.advice import finding, half, propose, slower
from tunesmith.health.history import CEILING, WINDOW, History, Series, Settings, recent, series
from tunesmith.health.signal import FLAT_STEPS, LITTLE

STILL_NATS = 0.01
"""KL of a whole response to the start below which a policy has hardly moved."""


def reward_spike_then_crash(history: History, settings: Settings) -> Finding | None:
    """The reward fell, from a peak or from its start, by more than noise explains: the learning rate is too high."""
    fell = _training_fell(history) or _heldout_fell(history)
    if fell is None:
        return None
    level, saw = fell
    return finding(
        "reward_spike_then_crash", level, history, saw, slower(settings, "a fresh start climbs without falling back")
    )


def _training_fell(history: History) -> tuple[Level, str] | None:
    rewards = series(history, "rollout/reward_mean")
    smooth = rewards.smoothed(WINDOW)
    if len(rewards) < 2 * WINDOW:
        return None
    peak = max(smooth.values)
    start, now = smooth.values[0], smooth.values[-1]
    real = max(0.1, 2.5 * rewards.noise())
    if peak - now < max(real, (peak - start) / 2) or (peak - start < real and now > start - real):
        return None
    top = smooth.steps[smooth.values.index(peak)]
    saw = f"mean reward over {WINDOW} steps went {start:.2f}, {peak:.2f} at step {top}, {now:.2f} now"
    return "error" if now <= start - real else "warning", saw


def _heldout_fell(history: History) -> tuple[Level, str] | None:
    """Held-out rows lost more than half of their reward and more than chance takes, and training's did not rise.

    Where a run falls within its first steps, averages of the training reward have no start to compare with.
    """
    held_out, train = series(history, "eval/reward_mean"), series(history, "rollout/reward_mean")
    rows = series(history, "eval/groups")
    if len(held_out) < 2 or not rows.values or not train.values:
        return None
    start, now = held_out.values[0], held_out.values[-1]
    # Two standard errors of the difference of two means over that many rewards between 0 and 1.
    chance = math.sqrt(2 / rows.values[-1])
    risen = train.last(WINDOW).mean() > train.first(WINDOW).mean()
    if now > start / 2 or start - now < max(0.1, chance) or risen:
        return None
    return "error", f"held-out reward {start:.3f} at step {held_out.steps[0]}, {now:.3f} now"


def early_plateau(history: History, settings: Settings) -> Finding | None:
    """There is a signal and the policy has hardly moved: the learning rate is too low."""
    rewards = series(history, "rollout/reward_mean")
    moved = _nats_per_response(history)
    signal = recent(history, "rollout/signal_share")
    if len(rewards) < FLAT_STEPS or moved is None or moved >= STILL_NATS or rewards.last(WINDOW).mean() >= CEILING:
        return None
    if not signal.values or signal.mean() < LITTLE or _gain(rewards) > max(0.03, 2 * _error(rewards)):
        return None
    saw = f"mean reward {rewards.first(WINDOW).mean():.2f} -> {rewards.last(WINDOW).mean():.2f} in {len(rewards)} steps"
    saw += f", and the policy is {moved:.4f} nats per response away from its start"
    change = propose(
        settings,
        "the reward starts to rise",
        ("learning_rate", lambda rate: min(3 * rate, max(rate, 5e-4))),
        by_hand=("learning_rate", "raise it"),
    )
    return finding("early_plateau", "warning", history, saw, change)


def overfitting(history: History, settings: Settings) -> Finding | None:
    """Held-out rows get worse while the training rows get better: the model learns the rows by heart."""
    fell = _losses_part(history) or _rewards_part(history)
    if fell is None:
        return None
    best, saw = fell
    change = propose(
        settings,
        "the run ends near its best held-out result",
        ("epochs", lambda n: _epochs_until(history, best, n)),
        ("lora_rank", lambda rank: max(4, rank // 2) if rank else rank),
        ("learning_rate", half),
        by_hand=("dataset", "add rows, or train fewer steps"),
    )
    return finding("overfitting", "warning", history, saw, change)


def still_climbing(history: History, settings: Settings) -> Finding | None:
    """The run ended while the reward was still rising: more epochs would probably have raised it further."""
    rewards = series(history, "rollout/reward_mean")
    both = rewards.last(2 * WINDOW)
    if len(both) < 2 * WINDOW or both.last(WINDOW).mean() >= CEILING:
        return None
    gain = both.last(WINDOW).mean() - both.first(WINDOW).mean()
    if gain <= max(0.02, 1.8 * rewards.noise()):
        return None
    saw = f"mean reward rose by {gain:.2f} within the last {2 * WINDOW} steps, to {both.last(WINDOW).mean():.2f}"
    change = propose(
        settings,
        "the curve had not levelled off, and rises further",
        ("epochs", lambda n: n + (2 if n > 1 else 1)),
        by_hand=("epochs", "add one or two"),
    )
    return finding("still_climbing", "info", history, saw, change)


def _epochs_until(history: History, step: int, epochs: int) -> int:
    """Epochs begun by a step, fewer than those that were asked for; one fewer where the epochs are not known."""
    fewer = max(1, epochs - 1)
    known = series(history, "epoch")
    return min(fewer, int(max(known.until(step).values, default=1))) if len(known) else fewer


def _losses_part(history: History) -> tuple[int, str] | None:
    """sft and dpo: the held-out loss has risen by 1% from its lowest while the training loss fell."""
    held_out, train = series(history, "eval/loss"), series(history, "train/loss")
    if len(held_out) < 2 or not train.values:
        return None
    best = min(held_out.values)
    at = held_out.values.index(best)
    later = held_out.values[at + 1 :]
    confirmed = len(later) >= 2 or len(later) == len(held_out) - 1 == 1
    if not confirmed or min(later) <= 1.01 * best:
        return None
    then = train.until(held_out.steps[at]).last(WINDOW) if held_out.steps[at] >= train.steps[0] else train.first(1)
    if train.last(WINDOW).mean() >= then.mean():
        return None
    saw = f"held-out loss {best:.3f} at step {held_out.steps[at]}, {later[-1]:.3f} now"
    return held_out.steps[at], f"{saw}; training loss {train.values[-1]:.3f}"


def _rewards_part(history: History) -> tuple[int, str] | None:
    """rft: the held-out reward has been 0.05 below its best for two evaluations while the training reward rose."""
    held_out, train = series(history, "eval/reward_mean"), series(history, "rollout/reward_mean")
    if len(held_out) < 3 or len(train) < 2 * WINDOW:
        return None
    best = max(held_out.values)
    at = held_out.values.index(best)
    later = held_out.values[at + 1 :]
    then = train.until(max(held_out.steps[at], train.steps[0])).last(WINDOW).mean()
    now = train.last(WINDOW).mean()
    if len(later) < 2 or max(later[-2:]) > best - 0.05 or now <= then + 0.02:
        return None
    saw = f"held-out reward {best:.3f} at step {held_out.steps[at]}, {later[-1]:.3f} now"
    return held_out.steps[at], f"{saw}; training reward {then:.3f} -> {now:.3f}"


def _nats_per_response(history: History) -> float | None:
    kl, length = recent(history, "policy/kl_ref"), recent(history, "rollout/length_mean")
    return kl.mean() * length.mean() if kl.values and length.values else None


def _gain(rewards: Series) -> float:
    middle = len(rewards) // 2
    return rewards.last(middle).mean() - rewards.first(middle).mean()


def _error(rewards: Series) -> float:
    """Standard error of that gain, if steps are independent."""
    return rewards.noise() * math.sqrt(2 / (len(rewards) // 2))
