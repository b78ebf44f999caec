"""Rules about what a group of attempts can teach: whether rewards differ, and whether there are enough to average."""

import math
from statistics import fmean

from tunesmith.core.types import Finding, Level
from tunesmith.health.advice import Option, double, finding, propose, warmer
from tunesmith.health.history import WINDOW, History, Settings, recent, rising, series, solved_by

PASS_RATES = {"none": 0.0, "few": 0.125, "half": 0.5, "most": 0.875, "all": 1.0}
"""Bars of the pass-rate histogram, ``rollout/pass_<bar>``: the pass rate that stands for each."""
COLLAPSED, NARROW = 0.05, 0.1
"""Standard deviation of a step's rewards below which attempts count as alike, and as nearly so."""
LITTLE = 0.2
"""Share of groups with differing rewards below which a step hardly teaches."""
NOISY = 0.1
"""Jump of the mean reward between steps from which on it says little about a step."""
FLAT_STEPS = 10
"""Steps without a rise before a rule says that a run stands still."""


def expected_signal(history: History, candidates: int) -> float | None:
    """Share of groups with differing rewards that the pass rates of the last steps promise: mean of 1 - p^n - (1-p)^n.

    None where the pass rates were not recorded.
    """
    shares = {p: recent(history, f"rollout/pass_{bar}") for bar, p in PASS_RATES.items()}
    if not all(len(share) for share in shares.values()):
        return None
    n = candidates
    return sum(share.mean() * (1 - p**n - (1 - p) ** n) for p, share in shares.items())


def no_signal(history: History, settings: Settings) -> Finding | None:
    """Most groups score the same on every attempt, so almost nothing is learned from."""
    share = recent(history, "rollout/signal_share")
    if len(share) < WINDOW or max(share.values) >= LITTLE or solved_by(history):
        return None
    saw = f"at most {max(share.values):.0%} of groups had differing rewards in each of the last {WINDOW} steps"
    n = int(settings.get("response_candidates_count", 8))
    now, doubled = expected_signal(history, n), expected_signal(history, 2 * n)
    more: Option = ("response_candidates_count", double)
    options = [more]
    if now is not None and doubled is not None:
        saw += f"; the pass rates promise {now:.0%} with {n} candidates and {doubled:.0%} with {2 * n}"
        warm: Option = ("temperature", lambda t: max(t, 1.0))
        options = [more] if doubled - now >= 0.05 else [warm]
    change = propose(
        settings,
        "attempts at a prompt differ more often",
        *options,
        by_hand=("evaluator", "let it give partial credit"),
    )
    return finding("no_signal", "error" if max(share.values) == 0 else "warning", history, saw, change)


def mode_collapse(history: History, settings: Settings) -> Finding | None:
    """Attempts that once scored differently now score nearly the same, below the best score."""
    spread = series(history, "rollout/reward_std")
    now = spread.last(WINDOW)
    if len(now) < WINDOW or max(now.values) >= NARROW or max(spread.values) < 2 * NARROW or solved_by(history):
        return None
    mean = recent(history, "rollout/reward_mean")
    around = f" around a mean of {mean.values[-1]:.2f}" if mean.values else ""
    saw = f"rewards spread by at most {max(now.values):.3f}{around} in each of the last {WINDOW} steps"
    saw += f", by {max(spread.values):.3f} at their widest"
    level: Level = "error" if max(now.values) < COLLAPSED else "warning"
    return finding("mode_collapse", level, history, saw, warmer(settings, "attempts explore again"))


def small_groups(history: History, settings: Settings) -> Finding | None:
    """The reward jumps from step to step by more than it ever gains: too few attempts to average the luck out."""
    rewards = series(history, "rollout/reward_mean")
    if len(rewards) < FLAT_STEPS or rewards.noise() < NOISY or solved_by(history):
        return None
    middle = len(rewards) // 2
    before, now = rewards.first(middle), rewards.last(middle)
    gain, chance = now.mean() - before.mean(), 2 * rewards.noise() * math.sqrt(2 / middle)
    if abs(gain) > chance:
        return None
    saw = f"mean reward jumps by about {rewards.noise():.2f} between steps and changed by {gain:+.2f} in all"
    if groups := recent(history, "rollout/groups").values:
        saw += f", with {fmean(groups):.0f} groups of {settings.get('response_candidates_count', '?')} a step"
    wider: Option = ("chunk_size", lambda size: 2 * size if size > 0 else size)
    more: Option = ("response_candidates_count", double)
    change = propose(
        settings,
        "the average of more attempts says more than luck",
        *([wider, more] if settings.get("response_candidates_count", 0) >= 4 else [more]),
        by_hand=("chunk_size", "raise it, or add rows"),
    )
    return finding("small_groups", "warning", history, saw, change)


def solved(history: History, settings: Settings) -> Finding | None:
    """Nearly every attempt scores at the top: good, and there is nothing more to learn from these rows."""
    if not solved_by(history):
        return None
    spread = series(history, "rollout/reward_std").values
    saw = f"mean reward {series(history, 'rollout/reward_mean').values[-1]:.3f}"
    saw += f" with a spread of {spread[-1]:.3f}" if spread else ""
    change = propose(settings, "there is something left to learn", by_hand=("dataset", "add harder rows, or stop here"))
    return finding("solved", "info", history, saw, change)


def entropy_collapse(history: History, settings: Settings) -> Finding | None:
    """The sampler has become certain of every token while the reward stands still: it no longer tries anything else."""
    entropy = series(history, "rollout/entropy")
    if len(entropy) < 2 * WINDOW or solved_by(history) or rising(history):
        return None
    before, now = entropy.first(WINDOW).mean(), entropy.last(WINDOW).mean()
    if now >= 0.2 * before:
        return None
    rewards = recent(history, "rollout/reward_mean")
    stands = f" while the mean reward stays at {rewards.mean():.2f}" if rewards.values else ""
    saw = f"entropy fell from {before:.3g} to {now:.3g} nats per token{stands}"
    return finding("entropy_collapse", "warning", history, saw, warmer(settings, "the policy tries other ways again"))
