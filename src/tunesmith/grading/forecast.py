"""What a job will learn from, said before it starts: how often a group of attempts will hold both good and bad ones."""

from collections.abc import Sequence
from statistics import mean

ENOUGH = 0.5
LITTLE = 0.2


def expected_signal_share(pass_rates: Sequence[float], n: int) -> float:
    """Share of groups with differing scores: the mean over prompts of 1 - p^n - (1 - p)^n.

    Args:
        pass_rates: chance that one attempt at a prompt scores 1, per prompt.
        n: attempts per prompt.
    """
    if not pass_rates:
        return 0.0
    return mean(1 - p**n - (1 - p) ** n for p in pass_rates)


def advise_signal(pass_rates: Sequence[float], n: int, temperature: float) -> list[str]:
    """What to change, in sentences with numbers; nothing when the group already tells good from bad often enough."""
    share = expected_signal_share(pass_rates, n)
    if not pass_rates or share >= ENOUGH:
        return []
    hopeless = mean(p == 0 for p in pass_rates)
    solved = mean(p == 1 for p in pass_rates)
    advice = [f"With {n} candidates, {share:.0%} of the prompts should give differing scores; the rest teach nothing."]
    better = next((k for k in (16, 32, 64) if k > n and expected_signal_share(pass_rates, k) >= share + 0.1), None)
    if better is not None:
        gain = expected_signal_share(pass_rates, better)
        advice.append(f"{better} candidates instead of {n} would raise that to {gain:.0%}.")
    if temperature < 1.0 and hopeless + solved >= LITTLE:
        advice.append(f"Raise the temperature from {temperature:g} towards 1: attempts at a prompt come out too alike.")
    if hopeless >= LITTLE:
        advice.append(
            f"{hopeless:.0%} of the prompts were never solved: let the grader give part of the reward for part of the "
            "answer, start with SFT on solved examples, or add easier prompts."
        )
    if solved >= LITTLE:
        advice.append(f"{solved:.0%} of the prompts were always solved: leave them out or add harder ones.")
    return advice


def histogram(values: Sequence[float], bins: int = 10) -> list[tuple[float, float, int]]:
    """(from, to, count) of equal bins from the least to the greatest value; the last bin includes its end."""
    if not values:
        return []
    low, high = min(values), max(values)
    if low == high:
        return [(low, high, len(values))]
    width = (high - low) / bins
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width))] += 1
    return [(low + i * width, low + (i + 1) * width, count) for i, count in enumerate(counts)]
