"""A job's family: where it comes from, and its forks, as far as they are still there."""

from dataclasses import dataclass

from tunesmith.core.errors import NotFound
from tunesmith.server.web import links, words
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.offspring import Offspring

DEEPEST = 20
"""Generations shown, up and down."""


@dataclass(frozen=True, slots=True)
class Relative:
    """One line of the tree."""

    title: str
    href: str
    state: str
    depth: int
    """Below the oldest ancestor that is still there."""
    parted: str
    changed: str
    here: bool


def family_of(jobs: Jobs, job: Job) -> list[Relative]:
    """The tree that a job belongs to, parents before their forks; empty for one that is alone."""
    eldest = job
    for _ in range(DEEPEST):
        above = _parent(jobs, eldest)
        if above is None:
            break
        eldest = above
    tree = _below(Offspring(jobs), job, eldest, 0)
    return tree if len(tree) > 1 or job.origin else []


def _parent(jobs: Jobs, job: Job) -> Job | None:
    try:
        return jobs.get(job.owner, job.origin.job) if job.origin else None
    except NotFound:
        return None


def _below(offspring: Offspring, here: Job, job: Job, depth: int) -> list[Relative]:
    line = _relative(job, depth, job.id == here.id)
    forks = offspring.forks(job.owner, job.id) if depth < 2 * DEEPEST else []
    return [line, *(member for fork in forks for member in _below(offspring, here, fork, depth + 1))]


def _relative(job: Job, depth: int, here: bool) -> Relative:
    origin = job.origin
    parted = "" if origin is None else f"step {origin.step}" if origin.step else "the start"
    changes = origin.changed.items() if origin else ()
    shown = [(name, words.typed(old), words.typed(new)) for name, (old, new) in changes]
    changed = ", ".join(f"{name} {old} → {new}" for name, old, new in shown if old != new)
    return Relative(job.display_name or job.name, links.of_job(job), job.state, depth, parted, changed, here)
