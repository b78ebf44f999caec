"""Rules about who hands out the rewards: failures, moods, and parts that drown or contradict each other."""

from tunesmith.core.types import Finding
from tunesmith.health.advice import finding, propose
from tunesmith.health.history import WINDOW, History, Settings, ends, recent, series

DOMINATES, DISAGREES = 0.95, -0.1
"""Share of the reward's variance that one part makes up; below 0 it varies against the whole."""


def grader_errors(history: History, settings: Settings) -> Finding | None:
    """Gradings fail; those attempts are left out, and the step learns from fewer."""
    failed = series(history, "rollout/failed_share").last(1)
    if not failed.values or failed.values[-1] <= 0.05:
        return None
    step = failed.steps[-1]
    saw = f"{failed.values[-1]:.0%} of gradings failed at step {step}"
    hand = ("evaluator", f"mend what the error column of rollouts/step-{step:06d}.parquet names")
    change = propose(settings, "every attempt counts", by_hand=hand)
    return finding("grader_errors", "warning", history, saw, change)


def unstable_judge(history: History, settings: Settings) -> Finding | None:
    """The same text at the same prompt gets different rewards: part of the signal is the judge's mood."""
    unstable = recent(history, "rollout/unstable_share")
    if len(unstable) < WINDOW or unstable.mean() <= 0.05:
        return None
    saw = f"{unstable.mean():.0%} of texts that came up twice in a group were scored differently"
    hand = ("evaluator", "ask the judge at temperature 0, or take the median of three verdicts")
    change = propose(settings, "equal texts get equal rewards", by_hand=hand)
    return finding("unstable_judge", "warning", history, saw, change)


def one_part_dominates(history: History, settings: Settings) -> Finding | None:
    """One part makes up nearly all differences between rewards; the other parts are not learned from."""
    shares = _shares(history)
    if len(shares) < 2:
        return None
    name, share = max(shares.items(), key=lambda item: item[1])
    # Parts that are earned already cannot vary; that is success, not drowning.
    rest = [part for part in shares if part != name and _unearned(history, part)]
    if share <= DOMINATES or not rest:
        return None
    saw = f"{name} makes up {share:.0%} of the differences between rewards, {', '.join(rest)} the rest"
    hand = ("evaluator", f"raise the weight of {rest[0]}, or lower that of {name}")
    change = propose(settings, "every part is learned from", by_hand=hand)
    return finding("one_part_dominates", "warning", history, saw, change)


def parts_disagree(history: History, settings: Settings) -> Finding | None:
    """One part of the reward falls where the whole rises: the policy is pulled two ways."""
    shares = _shares(history)
    if not shares:
        return None
    name, share = min(shares.items(), key=lambda item: item[1])
    if share >= DISAGREES:
        return None
    other = max(shares, key=lambda part: shares[part])
    saw = f"{name} moves against the reward (share of variance {share:+.2f}), {other} with it ({shares[other]:+.2f})"
    hand = ("evaluator", f"say which of {name} and {other} matters more, and drop or lower the other")
    change = propose(settings, "the parts pull one way", by_hand=hand)
    return finding("parts_disagree", "warning", history, saw, change)


def _shares(history: History) -> dict[str, float]:
    """Part -> its share of the variance of rewards, over the last steps; empty until there are enough."""
    names = sorted({n for line in history[-WINDOW:] for n in line if n.startswith("part/") and n.endswith("/share")})
    found = {name.removeprefix("part/").removesuffix("/share"): recent(history, name) for name in names}
    return {part: share.mean() for part, share in found.items() if len(share) == WINDOW}


def _unearned(history: History, part: str) -> bool:
    """A part that scores below 0.9 and does not rise."""
    raw = recent(history, f"part/{part}/raw")
    both = ends(history, f"part/{part}/raw")
    return bool(raw.values) and raw.mean() < 0.9 and (both is None or both[1] <= both[0] + 0.05)
