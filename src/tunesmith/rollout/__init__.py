"""Groups from prompts: the embedded sampling engine, and collecting graded attempts."""

from tunesmith.rollout.sampler import LocalSampler

__all__ = ["LocalSampler"]
