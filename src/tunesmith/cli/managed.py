"""``tunesmith jobs``: the jobs of a server. A job is named by its id, its name, the beginning of either, or @latest."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.create import Follow, show_created
from tunesmith.cli.references import AsJson, Url, Yes

Job = Annotated[str, typer.Argument(help="Id or name of the job, the beginning of either, or @latest.")]
Many = Annotated[int, typer.Option("--limit", help="Most entries.", min=1, max=200)]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    looks = (get, follow, logs, events, metrics, findings, advise, report, download)
    verbs = (*looks, cancel, pause, resume, clone, delete)
    group.command("list")(list_jobs)
    for verb in verbs:
        group.command(verb.__name__)(verb)
    app.add_typer(group, name=name)


def list_jobs(
    kind: Annotated[str | None, typer.Option(help="Only rft, sft or dpo.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state; may be given several times.")
    ] = None,
    limit: Many = 20,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the newest jobs.

    Example: tunesmith jobs list --state running --state queued
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import minute, print_json, print_table

    found = client_of(url).get("/jobs", kind=kind, state=state or None, limit=limit)["items"]
    if json:
        print_json(found)
        return
    rows = [{**job, "created": minute(job["created_at"])} for job in found]
    headings = {"id": "id", "name": "name", "kind": "kind", "state": "state", "created": "created", "why": "reason"}
    print_table(rows, headings)


def get(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Show a job: how far it is, its latest numbers, its settings.

    Example: tunesmith jobs get @latest
    """
    from tunesmith.cli.follow import show_job

    client, path = _found(job, url)
    show_job(client.get(path), json)


def follow(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Show a job's steps and events until it ends; Ctrl-C leaves it running.

    Example: tunesmith jobs follow @latest
    """
    from tunesmith.cli import follow as following

    client, path = _found(job, url)
    following.follow(client, path.rpartition("/")[2], json)


def logs(job: Job, follow: Follow = False, url: Url = None) -> None:
    """Print a job's log.

    Example: tunesmith jobs logs @latest --follow
    """
    client, path = _found(job, url)
    if not follow:
        offset = 0
        while (piece := client.get(f"{path}/logs", offset=offset))["text"]:
            typer.echo(piece["text"], nl=False)
            offset = piece["next_offset"]
        return
    for name, data in _streamed(client, path, "logs"):
        if name == "message":
            typer.echo(data["text"], nl=False)


def events(job: Job, follow: Follow = False, url: Url = None, json: AsJson = False) -> None:
    """Print what happened to a job: moves, notes, findings.

    Example: tunesmith jobs events @latest
    """
    client, path = _found(job, url)
    if follow:
        for name, data in _streamed(client, path, "events"):
            if name == "message":
                _show_event(data, json)
        return
    after = 0
    while (page := client.get(f"{path}/events", after=after))["items"]:
        for event in page["items"]:
            _show_event(event, json)
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
    from tunesmith.cli import columns
    from tunesmith.cli.output import print_json, print_table
    from tunesmith.core.errors import unknown

    client, path = _found(job, url)
    rows = client.get(f"{path}/metrics")["items"]
    if json:
        print_json(rows)
        return
    known = {key for row in rows for key in row}
    if rows and (strange := next((one for one in name or () if one not in known), None)):
        raise unknown("name", strange, known)
    shown = [key for _, keys, _ in columns.COLUMNS[client.get(path)["kind"]] for key in keys if key in known]
    print_table(rows, {key: key for key in ("step", *(name or shown))})


def findings(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Print what the health rules say of a job.

    Example: tunesmith jobs findings @latest
    """
    from tunesmith.cli.output import LEVEL_COLORS, print_json

    client, path = _found(job, url)
    found = client.get(f"{path}/findings")["items"]
    if json:
        print_json(found)
        return
    for one in found:
        text = f"{one['level']}: step {one['step']}: {one['rule']}: {one['saw']}. {one['advice']}"
        typer.secho(text, fg=LEVEL_COLORS[one["level"]])


def advise(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Print the one change to try next, and why.

    Example: tunesmith jobs advise @latest
    """
    from tunesmith.cli.output import print_json

    client, path = _found(job, url)
    found = client.get(f"{path}/advice")
    if json:
        print_json(found)
        return
    if not found["findings"]:
        typer.echo("nothing to change: no rule found anything")
        return
    first, change = found["findings"][0], found["change"]
    typer.echo(f"{first['level']}: {first['rule']} at step {first['step']}: {first['saw']}")
    typer.echo(f"try: {change['setting']}: {change['old']} -> {change['new']}: {change['expect']}")


def cancel(job: Job, url: Url = None, json: AsJson = False) -> None:
    """End a job.

    Example: tunesmith jobs cancel @latest
    """
    _do("cancel", job, url, json)


def pause(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Let a job rest after the step in hand.

    Example: tunesmith jobs pause @latest
    """
    _do("pause", job, url, json)


def resume(job: Job, url: Url = None, json: AsJson = False) -> None:
    """Go on with a job that was paused, cancelled or has failed, after its last checkpoint.

    Example: tunesmith jobs resume @latest
    """
    _do("resume", job, url, json)


def clone(
    job: Job,
    changes: Annotated[list[str] | None, typer.Argument(help="setting=value of what is to be different.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the new job; default its id.")] = None,
    follow: Follow = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Queue a job like another, with some settings changed.

    Example: tunesmith jobs clone @latest learning_rate=3e-5 seed=1 --follow
    """
    client, path = _found(job, url)
    body: dict[str, Any] = dict(map(_change, changes or ()))
    show_created(client, client.post(f"{path}/clone", body | ({"name": name} if name else {})), follow, json)


def delete(job: Job, yes: Yes = False, url: Url = None) -> None:
    """Remove a job with all that it wrote; the model that it made stays.

    Example: tunesmith jobs delete @latest --yes
    """
    from tunesmith.cli.output import confirm, say

    client, path = _found(job, url)
    shown = client.get(path)
    confirm(f"Delete {shown['kind']} job {shown['name']} ({shown['state']}) with all that it wrote?", yes)
    client.delete(path)
    say(f"{shown['id']} is deleted")


def report(
    job: Job,
    output: Annotated[Path | None, typer.Option(help="File; default <job>.html.")] = None,
    url: Url = None,
) -> None:
    """Fetch a job's report, one page that needs no network.

    Example: tunesmith jobs report @latest --output report.html
    """
    _fetch(job, url, "report.html", output, "html")


def download(
    job: Job,
    output: Annotated[Path | None, typer.Option(help="File; default <job>.tar.")] = None,
    url: Url = None,
) -> None:
    """Fetch what a job trained, as a tar: an adapter in PEFT format, or a model.

    Example: tunesmith jobs download @latest --output adapter.tar
    """
    _fetch(job, url, "result.tar", output, "tar")


def _found(job: str, url: str | None) -> tuple[Any, str]:
    """(client, address of the job)."""
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.references import job_of

    client = client_of(url)
    return client, path_of("jobs", job_of(client, job))


def _do(verb: str, job: str, url: str | None, as_json: bool) -> None:
    from tunesmith.cli.output import print_json, say

    client, path = _found(job, url)
    shown = client.post(f"{path}/{verb}")
    if as_json:
        print_json(shown)
    else:
        say(f"{shown['id']} is {shown['state']}")


def _streamed(client: Any, path: str, part: str) -> Any:
    """Events of a stream; Ctrl-C says how to come back."""
    from tunesmith.cli.output import say

    try:
        yield from client.events(f"{path}/{part}")
    except KeyboardInterrupt:
        say(f"\nthe job goes on. Look again with: tunesmith jobs {part} {path.rpartition('/')[2]} --follow")
        raise


def _show_event(event: dict[str, Any], as_json: bool) -> None:
    from tunesmith.cli.follow import said
    from tunesmith.cli.output import LEVEL_COLORS, print_json

    if as_json:
        print_json(event)
    else:
        typer.secho(f"{event['at'][:19].replace('T', ' ')}  {said(event)}", fg=LEVEL_COLORS[event["level"]])


def _change(text: str) -> tuple[str, Any]:
    """``name=value``; numbers, lists, true, false and null as YAML reads them."""
    import yaml

    from tunesmith.core.errors import UserError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError("changes", f"cannot be {text[:80]!r}", "Give setting=value, such as epochs=2")
    try:
        return name.replace("-", "_"), yaml.safe_load(value)
    except yaml.YAMLError:
        return name.replace("-", "_"), value


def _fetch(job: str, url: str | None, what: str, output: Path | None, ending: str) -> None:
    client, path = _found(job, url)
    file = output or Path(f"{path.rpartition('/')[2]}.{ending}")
    client.download(f"{path}/{what}", file)
    typer.echo(file)
