"""What a list says of a job: state, progress, cost, and the way its reward goes."""

from dataclasses import dataclass
from datetime import UTC, datetime

from tunesmith.server.web import links, words
from tunesmith.server.web.sparkline import sparkline
from tunesmith.services.curves import Curves
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.job_kinds import JOB_KINDS
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.jobs.progress import Progress

SPARK_POINTS = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job took so far."""

    seconds: float
    """Of work: rollouts, training, evaluation."""
    tokens: float
    """Sampled and trained."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One line of the list."""

    job: Job
    href: str
    title: str
    model: str
    progress: Progress
    cost: Cost
    spark: str
    """SVG; empty before there are two points."""
    metric: str
    value: str
    """The newest of the main metric."""
    left: str
    """Time left, or how long it took."""

    @property
    def settled(self) -> bool:
        return self.job.state in ENDED


def row_of(jobs: Jobs, curves: Curves, job: Job) -> JobRow:
    run = jobs.run(job.owner, job.id)
    newest = JOB_KINDS[job.kind].newest
    metric, name = newest.metric, newest.name
    curve = curves.of(run, [metric], SPARK_POINTS).get(metric)
    progress = jobs.progress_of(job)
    return JobRow(
        job=job,
        href=links.of_job(job),
        title=job.display_name or job.name,
        model=str(job.settings.get("base_model", "tunesmith/embedded")),
        progress=progress,
        cost=cost_of(jobs, curves, job),
        spark=sparkline(curve.values, name) if curve and len(curve.values) > 1 else "",
        metric=name,
        value=words.number(curve.values[-1]) if curve else "—",
        left=_left(job, progress),
    )


def cost_of(jobs: Jobs, curves: Curves, job: Job) -> Cost:
    run = jobs.run(job.owner, job.id)
    seconds = sum(curves.total(run, f"time/{part}_s") for part in ("rollout", "train", "eval"))
    trained = curves.total(run, "train/packed_tokens") or curves.total(run, "train/tokens")
    return Cost(seconds, curves.total(run, "rollout/tokens") + trained)


def _left(job: Job, progress: Progress) -> str:
    if job.ended_at and job.started_at:
        return f"took {words.duration(_between(job.started_at, job.ended_at))}"
    if job.state == "running" and progress.eta_s is not None:
        return f"{words.duration(progress.eta_s)} left"
    if job.state == "running" and job.started_at:
        return f"for {words.duration(_between(job.started_at, datetime.now(UTC).isoformat()))}"
    return "—"


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
