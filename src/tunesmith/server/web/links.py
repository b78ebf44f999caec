"""Addresses of pages. Commands of clients print the same ones."""

from urllib.parse import quote

from tunesmith.core.errors import NotFound
from tunesmith.server.dialects.fireworks.names import account_of
from tunesmith.server.web.visitor import PREFIX
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs

SLUGS = {"rft": "reinforcement", "sft": "supervised", "dpo": "preference"}
KINDS = {slug: kind for kind, slug in SLUGS.items()}
JOBS = f"{PREFIX}/fine-tuning"
EVALUATIONS = f"{PREFIX}/evaluations"


def of_job(job: Job) -> str:
    return f"{JOBS}/{SLUGS[job.kind]}/{job.name}"


def of_evaluation(job: Job) -> str:
    return f"{EVALUATIONS}/{job.name}"


def of_dataset(dataset_id: str) -> str:
    return f"{PREFIX}/datasets/{dataset_id}"


def of_model(name: str) -> str:
    return f"{PREFIX}/chat?model={quote(name, safe='')}"


def served_as(owner: str, deployment_id: str) -> str:
    """The name under which a deployment answers on ``/v1/chat/completions``."""
    return f"accounts/{account_of(owner)}/deployments/{deployment_id}"


def find_job(jobs: Jobs, owner: str, slug: str, name: str) -> Job:
    """The job of an address.

    Raises:
        NotFound: the owner has none of that kind and name.
    """
    if slug not in KINDS:
        raise NotFound(slug[:40], "no such kind of job", f"Kinds: {', '.join(KINDS)}")
    return jobs.find(owner, KINDS[slug], name)
