"""``tunesmith jobs``: the jobs of a server. A job is named by its id, its name, the beginning of either, or @latest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli import columns
from tunesmith.cli import follow as following
from tunesmith.cli.client import client_of
from tunesmith.cli.create import Follow
from tunesmith.cli.nouns import Found, add_group, discard, do, fetch, find, show_list
from tunesmith.cli.offspring import Job, advise, clone, fork, regrade
from tunesmith.cli.output import LEVEL_COLORS, print_json, print_table, say
from tunesmith.cli.references import AsJson, Url, Yes
from tunesmith.core.errors import unknown

State = Annotated[list[str] | None, typer.Option(help="Only those in this state; may be given several times.")]
Many = Annotated[int, typer.Option("--limit", help="Most entries.", min=1, max=200)]


def add_to(app: typer.Typer, name: str) -> None:
    looks = (list_jobs, get, follow, logs, events, metrics, findings, advise, report, download)
    add_group(app, name, *looks, cancel, pause, resume, clone, fork, regrade, delete)


def list_jobs(
    kind: Annotated[str | None, typer.Option(help="Only rft, sft or dpo.")] = None,
    state: State = None,
    limit: Many = 20,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the newest jobs.

    Example: tunesmith jobs list --state running --state queued
    """
    found = client_of(url).get("/jobs", kind=kind, state=state or None, limit=limit)["items"]
    headings = {"id": "id", "name": "name", "kind": "kind", "state": "state", "created": "created", "why": "reason"}
    show_list(found, json, headings)


def get(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Show a job: how far it is, its latest numbers, its settings.

    Example: tunesmith jobs get @latest
    """
    following.show_job(find("jobs", job, url).get(), json)


def follow(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Show a job's steps and events until it ends; Ctrl-C leaves it running.

    Example: tunesmith jobs follow @latest
    """
    found = find("jobs", job, url)
    following.follow(found.client, found.name, json)


def logs(job: Job, follow: Follow = False, url: Url = None, json: AsJson = False) -> None:
    """Print a job's log; as JSON, an object for each piece of it.

    Example: tunesmith jobs logs @latest --follow
    """
    print_log(find("jobs", job, url), follow, json)


def print_log(found: Found, follow: bool, as_json: bool) -> None:
    """The log of a job or an evaluation."""
    for piece in _streamed(found, "logs") if follow else _pieces(found):
        if as_json:
            print_json(piece)
        else:
            typer.echo(piece["text"], nl=False)


def _pieces(found: Found) -> Iterator[Any]:
    offset = 0
    while (piece := found.get("/logs", offset=offset))["text"]:
        yield piece
        offset = piece["next_offset"]


def events(job: Job, follow: Follow = False, url: Url = None, json: AsJson = False) -> None:
    """Print what happened to a job: moves, notes, findings; as JSON, an object for each.

    Example: tunesmith jobs events @latest
    """
    found = find("jobs", job, url)
    for event in _streamed(found, "events") if follow else _past(found):
        if json:
            print_json(event)
        else:
            text = f"{event['at'][:19].replace('T', ' ')}  {following.said(event)}"
            typer.secho(text, fg=LEVEL_COLORS[event["level"]])


def _past(found: Found) -> Iterator[Any]:
    after = 0
    while (page := found.get("/events", after=after))["items"]:
        yield from page["items"]
        after = page["next_after"]


def metrics(
    job: Job,
    name: Annotated[list[str] | None, typer.Option(help="Only this metric; may be given several times.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Print a job's metrics, a row per step.

    Example: tunesmith jobs metrics @latest --name rollout/reward_mean
    """
    found = find("jobs", job, url)
    rows = found.get("/metrics")["items"]
    if json:
        print_json(rows)
        return
    known = {key for row in rows for key in row}
    if rows and (strange := next((one for one in name or () if one not in known), None)):
        raise unknown("name", strange, known)
    shown = [key for _, keys, _ in columns.COLUMNS[found.get()["kind"]] for key in keys if key in known]
    print_table(rows, {key: key for key in ("step", *(name or shown))})


def findings(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Print what the health rules say of a job.

    Example: tunesmith jobs findings @latest
    """
    found = find("jobs", job, url).get("/findings")["items"]
    if json:
        print_json(found)
        return
    for one in found:
        text = f"{one['level']}: step {one['step']}: {one['rule']}: {one['saw']}. {one['advice']}"
        typer.secho(text, fg=LEVEL_COLORS[one["level"]])


def cancel(job: Job, url: Url = None, json: AsJson = False) -> None:
    """End a job.

    Example: tunesmith jobs cancel @latest
    """
    do("cancel", "jobs", job, url, json)


def pause(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Let a job rest after the step in hand.

    Example: tunesmith jobs pause @latest
    """
    do("pause", "jobs", job, url, json)


def resume(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Go on with a job that was paused, cancelled or has failed, after its last checkpoint.

    Example: tunesmith jobs resume @latest
    """
    do("resume", "jobs", job, url, json)


def delete(job: Job, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Remove a job with all that it wrote; the model that it made stays.

    Example: tunesmith jobs delete @latest --yes
    """
    found = find("jobs", job, url)
    shown = found.get()
    discard(found, f"Delete {shown['kind']} job {shown['name']} ({shown['state']}) with all that it wrote?", yes, json)


def report(
    job: Job,
    output: Annotated[Path | None, typer.Option(help="File; default <job>.html.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Fetch a job's report, one page that needs no network.

    Example: tunesmith jobs report @latest --output report.html
    """
    found = find("jobs", job, url)
    fetch(found, "/report.html", output or Path(f"{found.name}.html"), json)


def download(
    job: Job,
    output: Annotated[Path | None, typer.Option(help="File; default <job>.tar.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Fetch what a job trained, as a tar: an adapter in PEFT format, or a model.

    Example: tunesmith jobs download @latest --output adapter.tar
    """
    found = find("jobs", job, url)
    fetch(found, "/result.tar", output or Path(f"{found.name}.tar"), json)


def _streamed(found: Found, part: str) -> Iterator[Any]:
    """What a stream tells, until its end; Ctrl-C says how to come back."""
    try:
        for name, data in found.client.events(f"{found.path}/{part}"):
            if name == "message":
                yield data
    except KeyboardInterrupt:
        noun = found.path.split("/")[1]
        say(f"\nit goes on. Look again with: tunesmith {noun} {part} {found.name} --follow")
        raise
