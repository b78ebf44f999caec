"""``tunesmith rft|sft|dpo``: a job from flags, a spec file, or both, in the foreground or on a server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli import create as creation
from tunesmith.cli.listing import Listing
from tunesmith.cli.options import with_flags
from tunesmith.cli.output import print_json, show_settings
from tunesmith.cli.references import AsJson, Url
from tunesmith.spec import AnySpec, build_spec, read_spec
from tunesmith.spec.goals import GOALS
from tunesmith.spec.load import KINDS

EXAMPLES = {
    "rft": "tunesmith rft run --base-model embedded --dataset rows.jsonl --evaluator grader.py::grade",
    "sft": "tunesmith sft run --base-model ./model --dataset chats.jsonl --epochs 3",
    "dpo": "tunesmith dpo run --base-model ./model --dataset pairs.jsonl --dpo-beta 0.1",
}
GOAL_HELP = f"Change the defaults towards a goal: {', '.join(GOALS)}."


def add_to(app: typer.Typer, kind: str) -> None:
    """Add the group of one kind of job."""
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(cls=Listing, help=COMMANDS[kind][1], no_args_is_help=True, rich_markup_mode=None)

    def run(
        settings: dict[str, Any],
        spec: Annotated[Path | None, typer.Option(help="YAML or TOML file of settings; flags win over it.")] = None,
        goal: Annotated[str | None, typer.Option(help=GOAL_HELP)] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings that would be used.")] = False,
        json: Annotated[
            bool, typer.Option("--json", help="Print the card as JSON on the last line; with --dry-run the settings.")
        ] = False,
    ) -> None:
        _run(kind, {**settings, **({"goal": goal} if goal else {})}, spec, dry_run, json)

    run.__doc__ = f"Run a job to its end; Ctrl-C stops it and says how to resume.\n\nExample: {EXAMPLES[kind]}"

    def create(
        settings: dict[str, Any],
        spec: creation.Spec = None,
        name: creation.Name = None,
        output_model: creation.OutputModel = None,
        goal: Annotated[str | None, typer.Option(help=GOAL_HELP)] = None,
        follow: creation.Follow = False,
        dry_run: creation.DryRun = False,
        url: Url = None,
        json: AsJson = False,
    ) -> None:
        settings |= {"goal": goal} if goal else {}
        creation.create(kind, settings, spec, name, output_model, follow, dry_run, url, json)

    create.__doc__ = f"Queue a job on a server; files are uploaded.\n\nExample: {creation.EXAMPLES[kind]}"
    group.command("run")(with_flags(run, KINDS[kind]))
    group.command("create")(with_flags(create, KINDS[kind]))
    app.add_typer(group, name=kind)


def _run(kind: str, flags: dict[str, Any], file: Path | None, dry_run: bool, as_json: bool) -> None:
    from_file = read_spec(file) if file else {}
    spec = build_spec({**from_file, **flags}, kind)
    if dry_run:
        origins = {name: _origin(name, spec, flags, from_file) for name in spec.model_dump()}
        if as_json:
            print_json({"spec": spec.model_dump(), "origins": origins})
        else:
            show_settings(spec.model_dump(), origins)
        return
    from tunesmith.cli.progress import drive
    from tunesmith.services import worker

    drive(kind, lambda watcher: worker.start(spec, watcher), as_json)


def _origin(name: str, spec: AnySpec, flags: dict[str, Any], from_file: dict[str, Any]) -> str:
    if name in flags or name in from_file:
        return "flag" if name in flags else "file"
    return "default" if getattr(spec, name) == type(spec).model_fields[name].default else "goal"
