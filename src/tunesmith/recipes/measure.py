"""Numbers about a step's rollouts and about how well sampler and trainer agree."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

import numpy as np

from tunesmith.core.types import Datum, Floats, Group, Ints, Metrics, Rollout, Score

PASS = 0.5
"""Reward from which on an attempt counts as passed."""
ASKED = ("judge_calls", "judge_tokens")
"""Parts of a score that count what it took, and are no sub-scores."""
BARS = ("none", "few", "half", "most", "all")
"""Of the histogram of pass rates: 0, up to 1/4, below 3/4, below 1, and 1."""
EDGES = (0.0, 0.25, np.nextafter(0.75, 0), np.nextafter(1.0, 0))
"""Highest pass rate of each bar but the last."""


def describe(groups: Sequence[Group], room: str) -> Metrics:
    """Rewards, failures, lengths and variety of all attempts, with ``room/`` keys; reward parts as ``part/``."""
    rollouts = [r for g in groups for r in g.rollouts]
    scores = [r.score for r in rollouts if r.score is not None]
    lengths = [_length(r) for r in rollouts]
    signal = [_has_signal(g) for g in groups]
    out = {
        f"{room}/rollouts": float(len(rollouts)),
        f"{room}/groups": float(len(groups)),
        f"{room}/groups_with_signal": float(sum(signal)),
        f"{room}/signal_share": fmean(signal),
        f"{room}/failed_share": 1 - len(scores) / len(rollouts),
        f"{room}/truncated_share": fmean(r.stop == "length" for r in rollouts),
        f"{room}/length_mean": fmean(lengths),
        f"{room}/tokens": float(sum(lengths)),
        f"{room}/repetition_mean": fmean(_repetition(r) for r in rollouts),
        f"{room}/distinct_share": len({r.text for r in rollouts}) / len(rollouts),
        f"{room}/top_text_prompts": _top_text_prompts(groups),
        f"{room}/entropy": _entropy(rollouts),
    } | _turns(rollouts, room)
    if scores:
        rewards = [s.reward for s in scores]
        out |= {f"{room}/reward_mean": fmean(rewards), f"{room}/reward_std": pstdev(rewards)}
        out |= {f"{room}/reward_min": min(rewards), f"{room}/reward_max": max(rewards)}
        out |= _pass_rates(groups, room)
        out |= _parts([s.parts for s in scores]) | _shares(scores) if room == "rollout" else {}
        out |= _asked([s.parts for s in scores], room)
        out |= _unstable(groups, room)
    return out


def _top_text_prompts(groups: Sequence[Group]) -> float:
    """The largest share of prompts at which more than half of the attempts are one and the same text."""
    most = Counter(
        text
        for g in groups
        for text, times in Counter(r.text for r in g.rollouts).most_common(1)
        if 2 * times > len(g.rollouts)
    )
    return max(most.values(), default=0) / len(groups)


def _pass_rates(groups: Sequence[Group], room: str) -> Metrics:
    """The histogram of pass rates: share of groups of which none, few, half, most or all attempts score 0.5 or more."""
    rates = [fmean(rewards) for g in groups if (rewards := [float(reward >= PASS) for _, reward in _scored(g)])]
    bars = Counter(BARS[bisect_left(EDGES, rate)] for rate in rates)
    return {f"{room}/pass_{bar}": bars[bar] / len(rates) for bar in BARS}


def _unstable(groups: Sequence[Group], room: str) -> Metrics:
    """Of the texts that came up twice in a group, the share that was scored differently; nothing without any."""
    moods: list[bool] = []
    for g in groups:
        rewards: dict[str, list[float]] = {}
        for text, reward in _scored(g):
            rewards.setdefault(text, []).append(reward)
        moods += [max(same) != min(same) for same in rewards.values() if len(same) > 1]
    return {f"{room}/unstable_share": fmean(moods)} if moods else {}


def _shares(scores: Sequence[Score]) -> Metrics:
    """``part/<name>/share``: a weighted part's covariance with the reward over the reward's variance; they sum to 1."""
    rewards = np.array([s.reward for s in scores])
    variance = float(rewards.var())
    names = sorted({n for s in scores for n in s.parts if n.endswith("/weighted")})
    if variance == 0 or len(names) < 2:
        return {}
    columns = {n: np.array([s.parts.get(n, 0.0) for s in scores]) for n in names}
    return {
        f"part/{n.removesuffix('/weighted')}/share": float(((c - c.mean()) * rewards).mean()) / variance
        for n, c in columns.items()
    }


def _parts(parts: Sequence[Metrics]) -> Metrics:
    """Mean of every grader part: ``part/<name>/raw``, and ``part/<name>/weighted`` where several are summed."""
    out: Metrics = {}
    for name in sorted({n for p in parts for n in p if not n.endswith(ASKED)}):
        values = [p[name] for p in parts if name in p]
        out[f"part/{name}" if name.endswith("/weighted") else f"part/{name}/raw"] = fmean(values)
    return out


def _asked(parts: Sequence[Metrics], room: str) -> Metrics:
    """What models that grade were asked for these scores; nothing where none was."""
    totals = Counter({f"{room}/{name}": 0.0 for name in ASKED})
    for p in parts:
        totals.update({f"{room}/{n.rpartition('/')[2]}": value for n, value in p.items() if n.endswith(ASKED)})
    return dict(totals) if any(totals.values()) else {}


def _scored(group: Group) -> list[tuple[str, float]]:
    """(text, reward) of every graded attempt."""
    return [(r.text, r.score.reward) for r in group.rollouts if r.score is not None]


def _entropy(rollouts: Sequence[Rollout]) -> float:
    surprises = [-float(s.logprobs[s.sampled].mean()) for r in rollouts for s in r.segments]
    return fmean(surprises) if surprises else 0.0


def _turns(rollouts: Sequence[Rollout], room: str) -> Metrics:
    """Of rollouts in which the policy was asked more than once: how often, and how often its history was rewritten."""
    turns = [sum(int(np.diff(s.sampled, prepend=False)[s.sampled].sum()) for s in r.segments) for r in rollouts]
    if max(turns) < 2:
        return {}
    rewrites = sum(max(0, len(r.segments) - 1) for r in rollouts)
    return {f"{room}/turns_mean": fmean(turns), f"{room}/rewrites": float(rewrites)}


def _has_signal(group: Group) -> bool:
    rewards = [reward for _, reward in _scored(group)]
    return len(rewards) > 1 and max(rewards) != min(rewards)


def _length(rollout: Rollout) -> int:
    return sum(int(s.sampled.sum()) for s in rollout.segments)


def _repetition(rollout: Rollout) -> float:
    """Share of the sampled 4-grams that occurred before in the same attempt."""
    tokens: Ints = np.concatenate([np.zeros(0, np.int32), *(s.tokens[s.sampled] for s in rollout.segments)])
    grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def gap(data: Sequence[Datum], trainer: Sequence[Floats]) -> Metrics:
    """How far the trainer's log-probabilities are from the sampler's on the same tokens, before any update.

    gap/max and gap/mean are |log p - log q|; kl_sample_train is the mean of log q - log p, both in nats per token.
    """
    q = np.concatenate([d.logprobs[d.weights != 0] for d in data if d.logprobs is not None]).astype(np.float64)
    p = np.concatenate([t[d.weights != 0] for d, t in zip(data, trainer, strict=True)]).astype(np.float64)
    distance = np.abs(p - q)
    return {
        "gap/max": float(distance.max()),
        "gap/mean": float(distance.mean()),
        "kl_sample_train": float((q - p).mean()),
    }


def step_kl(data: Sequence[Datum], after: Sequence[Floats]) -> Metrics:
    """kl_post_train: how far a step's updates moved the policy from the one that sampled it, nats per token.

    Args:
        after: log-probabilities of the data under the updated weights.

    The mean of r - ln r - 1 over sampled tokens with r = after / sampled, an estimate of KL(sampled || after).
    """
    d = np.concatenate(
        [(t - x.logprobs)[x.weights != 0] for x, t in zip(data, after, strict=True) if x.logprobs is not None]
    )
    d = np.minimum(d.astype(np.float64), 20.0)
    return {"kl_post_train": float((np.expm1(d) - d).mean())}
