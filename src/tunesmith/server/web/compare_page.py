"""``/dashboard/compare``: jobs side by side: settings that differ, results, curves over each other."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.server.web import charts, links, words
from tunesmith.server.web.charts import Chart
from tunesmith.server.web.job_row import row_of
from tunesmith.server.web.job_view import asked_settings
from tunesmith.server.web.pages import new_router, page
from tunesmith.server.web.visitor import PREFIX, Seen
from tunesmith.services.card import current_card
from tunesmith.services.card_pages import lines
from tunesmith.services.compare import MOST_RUNS, differing, what_it_can_be_put_down_to
from tunesmith.services.curves import Curves
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs

router = new_router()


@dataclass(frozen=True, slots=True)
class Side:
    """One of the jobs."""

    job: Job
    title: str
    href: str
    card: dict[str, Any]


@router.get("/compare")
def compare(request: Request, visitor: Seen) -> Response:
    """With jobs in the address, these; else a list to choose from."""
    chosen = _chosen(request, visitor)
    jobs: Jobs = request.app.state.jobs
    if len(chosen) < 2:
        listed = [row_of(jobs, request.app.state.curves, job) for job in jobs.page(visitor.owner, limit=50)[0]]
        return page(request, "compare_choose.html", visitor, rows=listed, most=MOST_RUNS, first={j.id for j in chosen})
    sides = [_side(jobs, job) for job in chosen]
    settings = differing([asked_settings(side.job) for side in sides])
    versions = tuple(jobs.run(s.job.owner, s.job.id).state().version for s in sides if s.card)
    return page(
        request,
        "compare.html",
        visitor,
        sides=sides,
        note=what_it_can_be_put_down_to(settings, versions),
        settings={name: [words.typed(value) for value in values] for name, values in settings.items()},
        results=_results(sides),
        charts=_charts(request, chosen),
        curves=f"{PREFIX}/compare/curves.json?{urlencode([('job', job.id) for job in chosen])}",
    )


@router.get("/compare/curves.json")
def compare_curves(request: Request, visitor: Seen) -> dict[str, Any]:
    return charts.as_json(_charts(request, _chosen(request, visitor)), [], -1)


def _chosen(request: Request, visitor: Seen) -> list[Job]:
    jobs: Jobs = request.app.state.jobs
    ids = list(dict.fromkeys(request.query_params.getlist("job")))
    if len(ids) > MOST_RUNS:
        raise UserError("job", f"{len(ids)} jobs are too many to compare", f"Choose up to {MOST_RUNS}")
    return [jobs.get(visitor.owner, job_id) for job_id in ids]


def _side(jobs: Jobs, job: Job) -> Side:
    run = jobs.run(job.owner, job.id)
    card = current_card(run) if (run.path / "state.json").is_file() else {}
    return Side(job, job.display_name or job.name, links.of_job(job), card)


def _results(sides: list[Side]) -> dict[str, list[str]]:
    """What the cards tell -> in each job; what none has measured is left out."""
    told = [_told(side.card) if side.card else {} for side in sides]
    return {name: [each.get(name, "—") for each in told] for name in dict.fromkeys(n for each in told for n in each)}


def _told(card: dict[str, Any]) -> dict[str, str]:
    """A card in words, the findings by their names."""
    held_out = {}
    for name in ("reward", "loss"):
        before, after = (card.get(f"heldout_{name}_{when}") for when in ("before", "after"))
        if before is not None:
            held_out[f"held-out {name}"] = f"{words.number(before)} → {words.number(after)}"
    if interval := card.get("heldout_ci95"):
        held_out["95% interval of the change"] = f"{interval[0]:+.3f} to {interval[1]:+.3f}"
    return held_out | dict(lines(card)) | {"findings": ", ".join(f["rule"] for f in card["findings"]) or "none"}


def _charts(request: Request, jobs: list[Job]) -> list[Chart]:
    """Each metric that at least two of them measured, a line per job."""
    service: Jobs = request.app.state.jobs
    curves: Curves = request.app.state.curves
    metrics = {metric: (plan, label) for plan in charts.PLANS for metric, label in plan.lines}
    found = [(job, curves.of(service.run(job.owner, job.id), list(metrics))) for job in jobs]
    made = []
    for metric, (plan, label) in metrics.items():
        drawn = [(job.display_name or job.name, there[metric]) for job, there in found if metric in there]
        if len(drawn) > 1:
            title = plan.title if len(plan.lines) == 1 else f"{plan.title}, {label}"
            made.append(Chart(charts.id_of(title), plan, drawn, title))
    return made
