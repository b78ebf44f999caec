"""``/dashboard/fine-tuning/<kind>/<name>``: a job while it runs and after."""

import asyncio
import csv
import io
from collections.abc import Hashable
from typing import Any

from fastapi import Request, Response

from tunesmith.core.errors import NotFound
from tunesmith.server.web import charts, links
from tunesmith.server.web.as_command import as_command
from tunesmith.server.web.family import family_of
from tunesmith.server.web.job_view import JobView, asked_settings, links_of, settings_of, view_of
from tunesmith.server.web.live import stamp, stream
from tunesmith.server.web.pages import HEADERS, fragment, new_router, page
from tunesmith.server.web.visitor import Seen
from tunesmith.services.card_pages import headline
from tunesmith.services.curves import Curves
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs

router = new_router()
ADDRESS = "/fine-tuning/{slug}/{name}"
LIVE = ("head", "tiles", "findings", "charts", "events", "card")
"""Parts of the page that the stream replaces."""


@router.get(ADDRESS)
def job_page(
    request: Request, visitor: Seen, slug: str, name: str, level: str = "info", smooth: bool = False
) -> Response:
    job = _job(request, visitor, slug, name)
    view = _view(request, job, level)
    return page(
        request,
        "job.html",
        visitor,
        job=job,
        view=view,
        charts=_charts(request, job),
        smooth=smooth,
        settings=settings_of(job.kind, asked_settings(job)),
        family=family_of(request.app.state.jobs, job),
        card=_card(request, job),
        commands=as_command(job, str(request.base_url).rstrip("/")),
        links=links_of(job),
    )


@router.get(ADDRESS + "/live")
async def live_job(
    request: Request, visitor: Seen, slug: str, name: str, level: str = "info", smooth: bool = False
) -> Response:
    """The parts that changed; ``step`` tells the charts that there are new points."""

    def look() -> dict[str, str]:
        job = _job(request, visitor, slug, name)
        view = _view(request, job, level)
        found = {"job": job, "view": view, "visitor": visitor, "charts": _charts(request, job), "smooth": smooth}
        found |= {"card": _card(request, job)}
        parts = {part: fragment(f"job_{part}.html", **found) for part in LIVE}
        return parts | {"step": str(view.row.progress.step) + ("." if view.row.settled else "")}

    def key() -> Hashable:
        job, jobs = _job(request, visitor, slug, name), request.app.state.jobs
        run = jobs.folders.run(job.id).path
        return job.updated_at, stamp(
            run / "metrics.jsonl", run / "state.json", run / "findings.json", run / "log.txt", run / "card.json"
        )

    await asyncio.to_thread(key)
    return stream(request, key, look)


@router.get(ADDRESS + "/curves.json")
def curves_json(
    request: Request, visitor: Seen, slug: str, name: str, after: int = -1, smooth: bool = False
) -> dict[str, Any]:
    job = _job(request, visitor, slug, name)
    jobs: Jobs = request.app.state.jobs
    return charts.as_json(_charts(request, job, smooth), jobs.findings(job.owner, job.id), after)


@router.get(ADDRESS + "/curves/{chart}")
def table(request: Request, visitor: Seen, slug: str, name: str, chart: str) -> Response:
    """One chart's numbers, newest first."""
    job = _job(request, visitor, slug, name)
    found = _chart(request, job, chart)
    return page(request, "curve.html", visitor, job=job, href=links.of_job(job), chart=found, rows=_rows(found)[::-1])


@router.get(ADDRESS + "/curves/{chart}/csv")
def table_csv(request: Request, visitor: Seen, slug: str, name: str, chart: str) -> Response:
    found = _chart(request, _job(request, visitor, slug, name), chart)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["step", *(label for label, _ in found.curves)])
    writer.writerows(_rows(found))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}-{found.id}.csv"'}
    return Response(out.getvalue(), media_type="text/csv", headers=headers)


def _rows(chart: charts.Chart) -> list[tuple[Any, ...]]:
    columns = [dict(zip(curve.steps, curve.values, strict=True)) for _, curve in chart.curves]
    steps = sorted({step for column in columns for step in column})
    return [(step, *(column.get(step) for column in columns)) for step in steps]


def _chart(request: Request, job: Job, chart: str) -> charts.Chart:
    found = next((c for c in _charts(request, job) if c.id == chart), None)
    if found is None:
        raise NotFound("chart", f"no data for {chart[:40]!r}", "Wait for the first step")
    return found


def _charts(request: Request, job: Job, smooth: bool = False) -> list[charts.Chart]:
    jobs: Jobs = request.app.state.jobs
    curves: Curves = request.app.state.curves
    return charts.charts_of(curves, jobs.run(job.owner, job.id), smooth)


def _card(request: Request, job: Job) -> str:
    """Its card in a sentence; empty before there is one."""
    jobs: Jobs = request.app.state.jobs
    found = jobs.run(job.owner, job.id).card()
    return headline(found) if found else ""


def _job(request: Request, visitor: Seen, slug: str, name: str) -> Job:
    return links.find_job(request.app.state.jobs, visitor.owner, slug, name)


def _view(request: Request, job: Job, level: str) -> JobView:
    return view_of(request.app.state.jobs, request.app.state.curves, job, level)
