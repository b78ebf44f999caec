"""``tunesmith rft|sft|dpo create``: a job on a server, from the same flags as ``run``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.spec import build_spec, read_spec

EXAMPLES = {
    "rft": "tunesmith rft create --dataset rows.jsonl --evaluator last_number --name sums --follow",
    "sft": "tunesmith sft create --dataset chats.jsonl --epochs 3 --output-model mine",
    "dpo": "tunesmith dpo create --dataset pairs.jsonl --dpo-beta 0.1",
}
FILES = ("dataset", "evaluation_dataset")
ORIGINS = {"given": "file", "goal": "goal", "default": "default"}
"""Where the server says that a setting comes from -> what that is here, flags aside."""
EMBEDDED = "embedded"
"""The embedded model, as ``run`` names it."""
Name = Annotated[str | None, typer.Option(help="Of the job, unique for its kind; default its id.")]
OutputModel = Annotated[str | None, typer.Option(help="Name of what comes out; default the job's name.")]
Spec = Annotated[Path | None, typer.Option(help="YAML or TOML file of settings; flags win over it.")]
Follow = Annotated[bool, typer.Option("--follow", help="Stay until its end; Ctrl-C leaves it running.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Have the server check it, and print what it would be.")]


def create(
    kind: str,
    flags: dict[str, Any],
    spec: Path | None,
    name: str | None,
    output_model: str | None,
    follow: bool,
    dry_run: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Upload what is named by a path, and queue the job."""
    from tunesmith.cli.client import client_of

    from_file = read_spec(spec) if spec else {}
    body = _settings(kind, {**from_file, **flags})
    client = client_of(url)
    from tunesmith.cli.upload import dataset_named, evaluator_named

    for field in FILES:
        if body.get(field) is not None:
            body[field] = dataset_named(client, body[field], kind)
    if "evaluator" in body:
        body["evaluator"] = evaluator_named(client, body["evaluator"])
    given = {"name": name, "output_model": output_model}
    body |= {"kind": kind, **{field: value for field, value in given.items() if value is not None}}
    if dry_run:
        _show_plan(client, body, flags, as_json)
        return
    show_created(client, client.post("/jobs", body), follow, as_json)


def show_created(client: Any, job: Any, follow: bool, as_json: bool) -> None:
    """Say what was made and what to do next, or stay with it."""
    from tunesmith.cli import follow as following
    from tunesmith.cli.output import print_json, say

    say(f"{job['kind']} job {job['id']} is {job['state']}; its result will be {job['output_model']}")
    say(f"{client.url}{job['page']}")
    if follow:
        following.follow(client, job["id"], as_json)
        return
    say(f"look at it with: tunesmith jobs follow {job['id']}")
    if as_json:
        print_json(job)
    else:
        typer.echo(job["id"])


def _settings(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Those that were given, checked here first: a slip costs no upload."""
    checked = build_spec(given, kind).model_dump()
    settings = {name: given[name] if name == "goal" else checked[name] for name in given if name != "kind"}
    if settings.get("base_model") == EMBEDDED:
        del settings["base_model"]
    return settings


def _show_plan(client: Any, body: dict[str, Any], flags: dict[str, Any], as_json: bool) -> None:
    """Settings and counts at once, then time and memory when the server has tried a few steps."""
    from tunesmith.cli.errands import answer_of
    from tunesmith.cli.output import print_fields, print_json, say, show_settings
    from tunesmith.cli.plan import fields_of

    plan = client.post("/jobs/plan?rehearse=true&wait_s=0", body)
    for warning in plan["warnings"]:
        say(f"  warning: {warning}", fg="yellow")
    if not as_json:
        origins = {name: "flag" if name in flags else ORIGINS[origin] for name, origin in plan["origins"].items()}
        show_settings(plan["spec"], origins)
        print_fields({name: plan[name] for name in ("rows", "held_out", "steps", "rollouts")})
    found = answer_of(client, plan["rehearsal"], "rehearsing a few steps")
    if as_json:
        print_json({**plan, "rehearsal": found})
    else:
        print_fields(fields_of(found))
