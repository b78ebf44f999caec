"""Numbers about a step's rollouts and about how well sampler and trainer agree."""

from collections.abc import Sequence
from statistics import fmean, pstdev

import numpy as np

from tunesmith.core.types import Datum, Floats, Group, Ints, Metrics, Rollout


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
        f"{room}/entropy": -fmean(float(s.logprobs[s.sampled].mean()) for r in rollouts for s in r.segments),
    }
    if scores:
        rewards = [s.reward for s in scores]
        out |= {f"{room}/reward_mean": fmean(rewards), f"{room}/reward_std": pstdev(rewards)}
        out |= {f"{room}/reward_min": min(rewards), f"{room}/reward_max": max(rewards)}
        out |= _parts([s.parts for s in scores]) if room == "rollout" else {}
    return out


def _parts(parts: Sequence[Metrics]) -> Metrics:
    """Mean of every grader part: ``part/<name>/raw``, and ``part/<name>/weighted`` where several are summed."""
    out: Metrics = {}
    for name in sorted({n for p in parts for n in p}):
        values = [p[name] for p in parts if name in p]
        out[f"part/{name}" if name.endswith("/weighted") else f"part/{name}/raw"] = fmean(values)
    return out


def _has_signal(group: Group) -> bool:
    rewards = [r.score.reward for r in group.rollouts if r.score is not None]
    return len(rewards) > 1 and max(rewards) != min(rewards)


def _length(rollout: Rollout) -> int:
    return sum(int(s.sampled.sum()) for s in rollout.segments)


def _repetition(rollout: Rollout) -> float:
    """Share of the sampled 4-grams that occurred before in the same attempt."""
    tokens: Ints = np.concatenate([s.tokens[s.sampled] for s in rollout.segments])
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
