"""From graded groups to training data: advantages, who is dropped and why, and the denominators of an update."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from tunesmith.core.shift import segment_to_datum
from tunesmith.core.types import Datum, Floats, Group, Norm
from tunesmith.recipes.report import Judgement

EPS = 1e-8


@dataclass(frozen=True, slots=True)
class Assembled:
    data: list[Datum]
    """One per trained segment, groups side by side so that they share their prompt."""
    judged: list[list[Judgement]]
    """Per group, per rollout."""


def assemble(groups: Sequence[Group], advantage_clip: float | None = None) -> Assembled:
    """Advantage = (reward - mean) / (sample std + 1e-8) within the group (2402.03300).

    Failed gradings leave their group. A group whose rewards are all equal (max == min: the std of eight 0.1 is not 0
    in floating point), or that has one rollout left, teaches nothing and is dropped.
    """
    judged = [_judge(g, advantage_clip) for g in groups]
    data = [
        segment_to_datum(segment, advantage)
        for group, verdicts in zip(groups, judged, strict=True)
        for rollout, (advantage, dropped) in zip(group.rollouts, verdicts, strict=True)
        if advantage is not None and not dropped
        for segment in rollout.segments
    ]
    return Assembled(data, judged)


def _judge(group: Group, clip: float | None) -> list[Judgement]:
    rewards = [r.score.reward for r in group.rollouts if r.score is not None]
    why = ""
    if len(rewards) < 2:
        why = "fewer than two graded attempts in the group"
    elif max(rewards) == min(rewards):
        why = "all attempts of the group score the same"
    mean, spread = (fmean(rewards), stdev(rewards) + EPS) if not why else (0.0, 1.0)
    out: list[Judgement] = []
    for rollout in group.rollouts:
        if rollout.score is None:
            out.append((None, "grading failed"))
        elif why:
            out.append((None, why))
        else:
            advantage = (rollout.score.reward - mean) / spread
            out.append((advantage if clip is None else min(max(advantage, -clip), clip), ""))
    return out


def updates(data: Sequence[Datum], batch_size: int, accumulation: int) -> list[list[list[Datum]]]:
    """Optimizer updates -> passes -> data, in order. A pass holds at most ``batch_size`` real tokens (or one datum)."""
    passes: list[list[Datum]] = [[]]
    used = 0
    for d in data:
        size = len(d.tokens) + 1
        if passes[-1] and used + size > batch_size:
            passes.append([])
            used = 0
        passes[-1].append(d)
        used += size
    return [passes[i : i + accumulation] for i in range(0, len(passes), accumulation)]


def norm_of(passes: Sequence[Sequence[Datum]]) -> Norm:
    """Trained tokens and sequences of one update."""
    counts = [int(np.count_nonzero(d.weights)) for data in passes for d in data]
    return Norm(float(sum(counts)), float(sum(c > 0 for c in counts)))


def with_reference(data: Sequence[Datum], reference: Sequence[Floats]) -> list[Datum]:
    return [replace(d, ref_logprobs=r) for d, r in zip(data, reference, strict=True)]
