"""Small runs and groups for the tests of the run folder, the report and the comparison."""

import numpy as np

from tunesmith.core.types import Group, Rollout, Score, Segment


def segment(prompt, reply, logprob=-0.5):
    """A prompt of given ids and a sampled reply of given ids."""
    return Segment(
        tokens=np.array([*prompt, *reply], np.int32),
        sampled=np.array([False] * len(prompt) + [True] * len(reply)),
        logprobs=np.array([0.0] * len(prompt) + [logprob] * len(reply), np.float32),
        temperature=0.7,
    )


def rollout(reply, reward, text=None, parts=None, reason="", prompt=(1, 2)):
    """One attempt of a single segment; reward None is a failed grading."""
    score = None if reward is None else Score(reward, parts or {}, reason)
    error = "timeout: 10 s" if reward is None else None
    return Rollout((segment(prompt, reply),), text or f"reply {reply}", 0, "stop", score, error)


def group(prompt_id, rewards, **details):
    rollouts = tuple(rollout([10 + i], reward, **details) for i, reward in enumerate(rewards))
    return Group(prompt_id, {"question": prompt_id, "answer": 7}, rollouts)


def judged(groups):
    """Everything that was scored was trained on, with the reward as its advantage."""
    return [
        [(None, "grading failed") if r.score is None else (r.score.reward, "") for r in group.rollouts]
        for group in groups
    ]


def decode(tokens):
    return " ".join(map(str, tokens))
