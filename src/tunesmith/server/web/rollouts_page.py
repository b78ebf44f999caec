"""``.../rollouts``: what a model tried at each step, group by group, down to the token."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from fastapi import Request, Response

from tunesmith.core.errors import NotFound
from tunesmith.server.web import links
from tunesmith.server.web.dots import dots
from tunesmith.server.web.job_page import ADDRESS
from tunesmith.server.web.pages import new_router, page
from tunesmith.server.web.token_shades import VIEWS, Setting, View, kept
from tunesmith.server.web.visitor import Seen
from tunesmith.services import rollout_browser
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.preview import for_grader
from tunesmith.services.registry import EMBEDDED
from tunesmith.services.renderers import Renderers
from tunesmith.services.rollout_browser import ORDERS, Token
from tunesmith.services.text_difference import pieces
from tunesmith.spec.loss import METHODS, canonical_method

router = new_router()
PAGE_ROWS = 20
SETS = {"step": "training", "eval": "held-out"}


@dataclass(frozen=True, slots=True)
class Query:
    """What the address says."""

    base: str
    set: str
    step: int
    order: str
    search: str
    page: int

    def href(self, path: str = "", **changes: Any) -> str:
        values = {"set": self.set, "step": self.step, "order": self.order, "q": self.search, **changes}
        return f"{self.base}{path}?{urlencode({name: value for name, value in values.items() if value != ''})}"


@router.get(ADDRESS + "/rollouts")
def rollouts(
    request: Request,
    visitor: Seen,
    slug: str,
    name: str,
    set: str = "step",
    step: int | None = None,
    order: str = "file",
    q: str = "",
    page_number: int = 1,
) -> Response:
    """The groups of a step; without one, of the newest."""
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    run, kind = jobs.run(job.owner, job.id), set if set in SETS else "step"
    steps = run.rollout_steps(kind)
    chosen = steps[-1] if step is None and steps else step or 0
    query = Query(links.of_job(job) + "/rollouts", kind, chosen, order, q, max(1, page_number))
    view: dict[str, Any] = {"job": job, "query": query, "steps": steps, "sets": SETS, "orders": ORDERS}
    if not steps:
        return page(request, "rollouts.html", visitor, **view, lines=[], total=0, pages=1)
    file, offset = run.rollout_file(kind, chosen), (query.page - 1) * PAGE_ROWS
    found, total = rollout_browser.groups(file, order, q.strip(), PAGE_ROWS, offset)
    low, high = _range([reward for line in found for reward in line.rewards])
    lines = [(line, dots(line.rewards, low, high)) for line in found]
    return page(
        request, "rollouts.html", visitor, **view, lines=lines, total=total, pages=max(1, -(-total // PAGE_ROWS))
    )


@router.get(ADDRESS + "/rollouts/group")
def group(request: Request, visitor: Seen, slug: str, name: str, step: int, prompt: str, set: str = "step") -> Response:
    """All attempts at one prompt, the best first; in the others, what the best does not say is marked."""
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    file = jobs.run(job.owner, job.id).rollout_file(set, step)
    text, attempts = rollout_browser.attempts(file, prompt)
    best = attempts[0]["text"]
    for attempt in attempts:
        attempt["pieces"] = pieces(attempt["text"], best)
    query = Query(links.of_job(job) + "/rollouts", set, step, "file", "", 1)
    return page(
        request,
        "rollout_group.html",
        visitor,
        job=job,
        query=query,
        sets=SETS,
        prompt_id=prompt,
        prompt=text,
        graded=for_grader(attempts[0]["row"]),
        attempts=attempts,
    )


@router.get(ADDRESS + "/rollouts/tokens")
def token_view(
    request: Request,
    visitor: Seen,
    slug: str,
    name: str,
    step: int,
    prompt: str,
    candidate: int,
    set: str = "step",
    by: str = "probability",
) -> Response:
    """One attempt, token by token, coloured by one of VIEWS."""
    jobs: Jobs = request.app.state.jobs
    job = links.find_job(jobs, visitor.owner, slug, name)
    file = jobs.run(job.owner, job.id).rollout_file(set, step)
    _, attempts = rollout_browser.attempts(file, prompt)
    attempt = next((a for a in attempts if a["candidate"] == candidate), None)
    if attempt is None:
        raise NotFound("attempt", f"no attempt {candidate} in this group", "Choose one from the group")
    query = Query(links.of_job(job) + "/rollouts", set, step, "file", "", 1)
    found = rollout_browser.tokens(file, prompt, candidate)
    setting = Setting(
        attempt["advantage"] or 0.0, METHODS[canonical_method(job.settings.get("rl_loss_method", "grpo"))]
    )
    known = kept(found, setting)
    by = by if by in known else "probability"
    view: dict[str, Any] = {
        "job": job,
        "query": query,
        "prompt_id": prompt,
        "attempt": attempt,
        "by": by,
        "views": {name: VIEWS[name] for name in known},
        "tokens": _tokens(request, job, found, VIEWS[by], setting),
        "clipped": sum(token.clipped for token in found),
    }
    return page(request, "rollout_tokens.html", visitor, **view)


def _tokens(
    request: Request, job: Job, found: list[Token], view: View, setting: Setting
) -> list[tuple[Token, str, str]]:
    """(token, its text, its shade)."""
    renderers: Renderers = request.app.state.renderers
    decode = renderers.of(str(job.settings.get("base_model", EMBEDDED))).decode
    values = [view.value(token, setting) for token in found]
    shades = ["t0" if value is None else view.shade(value, setting) for value in values]
    texts = [decode(np.array([token.id], np.int32)) for token in found]
    return list(zip(found, texts, shades, strict=True))


def _range(rewards: list[float]) -> tuple[float, float]:
    """Rewards usually lie between 0 and 1; others widen it."""
    return min([0.0, *rewards]), max([1.0, *rewards])
