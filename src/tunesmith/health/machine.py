"""Rules about the machine: memory that ran out, and where the time goes. Times differ between reruns."""

from tunesmith.core.types import Finding
from tunesmith.health.advice import double, finding, half_whole, propose
from tunesmith.health.history import WINDOW, History, Settings, series

LOST_S = 20.0
"""Seconds that have to be lost before a rule about time says anything."""


def oom_splits(history: History, settings: Settings) -> Finding | None:
    """Passes ran out of memory and were split: the result is the same, only slower."""
    splits = series(history, "train/oom_splits")
    if sum(splits.values) == 0:
        return None
    saw = f"{sum(splits.values):.0f} passes were split so far to fit into memory"
    change = propose(
        settings,
        "passes fit at once and save the retries",
        ("batch_size", half_whole),
        ("batch_size_samples", half_whole),
        by_hand=("batch_size", "lower it"),
    )
    return finding("oom_splits", "info", history, saw, change)


def slow_grader(history: History, settings: Settings) -> Finding | None:
    """Much of the time nothing happens but grading: the model waits for its marks."""
    waited, total = _seconds(history, "time/grade_s"), _total(history)
    if waited < max(LOST_S, 0.3 * total):
        return None
    saw = f"{waited:.0f} s of {total:.0f} s went by waiting for the grader"
    hand = ("evaluator", "make it faster, or score with a cheaper check first")
    change = propose(settings, "steps take less time for the same result", by_hand=hand)
    return finding("slow_grader", "warning", history, saw, change)


def time_lost(history: History, settings: Settings) -> Finding | None:
    """Evaluating takes more time than learning."""
    evaluating, total = _seconds(history, "time/eval_s"), _total(history)
    if evaluating < max(LOST_S, 0.5 * total) or len(series(history, "time/train_s")) < WINDOW:
        return None
    saw = f"{evaluating:.0f} s of {total:.0f} s went into held-out evaluations"
    change = propose(
        settings,
        "more of the time goes into learning",
        ("eval_every", double),
        ("eval_samples", half_whole),
        by_hand=("evaluation_dataset", "take fewer rows"),
    )
    return finding("time_lost", "info", history, saw, change)


def _seconds(history: History, name: str) -> float:
    return sum(series(history, name).values)


def _total(history: History) -> float:
    return sum(_seconds(history, f"time/{phase}_s") for phase in ("rollout", "train", "eval"))
