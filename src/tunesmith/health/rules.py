"""The table of health rules: pure functions over the metrics of a run so far. A rule is a function and a line here.

A rule fires once its evidence is complete, says the numbers it saw and proposes one change. Causes stand before what
they cause, so that of two findings of one level the first is the one to act on.
"""

from collections.abc import Callable, Sequence

from tunesmith.core.types import Finding, Metrics
from tunesmith.health.graders import grader_errors, one_part_dominates, parts_disagree, unstable_judge
from tunesmith.health.history import History, Settings
from tunesmith.health.learning import early_plateau, overfitting, reward_spike_then_crash, still_climbing
from tunesmith.health.machine import oom_splits, slow_grader, time_lost
from tunesmith.health.policy import big_updates, kl_drift, sampler_gap, stale_rollouts, weights_not_moving
from tunesmith.health.signal import entropy_collapse, mode_collapse, no_signal, small_groups, solved
from tunesmith.health.texts import format_rate, incoherent_text, reward_hacking_suspect, truncation

Rule = Callable[[History, Settings], Finding | None]
LEVELS = ("error", "warning", "info")
"""Gravest first."""

RULES: list[Rule] = [
    weights_not_moving,
    sampler_gap,
    grader_errors,
    unstable_judge,
    incoherent_text,
    truncation,
    reward_spike_then_crash,
    mode_collapse,
    no_signal,
    stale_rollouts,
    big_updates,
    reward_hacking_suspect,
    overfitting,
    parts_disagree,
    one_part_dominates,
    format_rate,
    entropy_collapse,
    kl_drift,
    early_plateau,
    small_groups,
    solved,
    oom_splits,
]
END_RULES: list[Rule] = [still_climbing]
"""Rules that only make sense once the run has ended."""
TIME_RULES: list[Rule] = [slow_grader, time_lost]
"""Rules over what a clock measured: what they find differs between reruns, so it is not kept in findings.json."""


def examine(
    history: History, settings: Settings | None = None, finished: bool = False, timing: History = ()
) -> list[Finding]:
    """What the rules find in a run so far, gravest first.

    Args:
        history: the lines of metrics.jsonl.
        settings: the job's spec; with it each advice names the old and the new value.
        finished: the run has ended, so the rules about endings apply too.
        timing: the lines of timing.jsonl; without them nothing is said about time.
    """
    found = _apply(RULES + (END_RULES if finished else []), history, settings or {})
    found += _apply(TIME_RULES, timing, settings or {}) if timing else []
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _apply(rules: Sequence[Rule], history: Sequence[Metrics], settings: Settings) -> list[Finding]:
    return [finding for rule in rules if (finding := rule(history, settings))]
