"""``tunesmith rft|sft|dpo run``: a job in the foreground, from flags, a spec file, or both."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.options import with_flags
from tunesmith.spec import build_spec, read_spec
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

    group = typer.Typer(help=COMMANDS[kind][1], no_args_is_help=True, rich_markup_mode=None)

    def run(
        settings: dict[str, Any],
        spec: Annotated[Path | None, typer.Option(help="YAML or TOML file of settings; flags win over it.")] = None,
        goal: Annotated[str | None, typer.Option(help=GOAL_HELP)] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings that would be used.")] = False,
        json: Annotated[bool, typer.Option("--json", help="Print the card as JSON on the last line.")] = False,
    ) -> None:
        _run(kind, {**settings, **({"goal": goal} if goal else {})}, spec, dry_run, json)

    run.__doc__ = f"Run a job to its end; Ctrl-C stops it and says how to resume.\n\nExample: {EXAMPLES[kind]}"
    group.command("run")(with_flags(run, KINDS[kind]))
    group.callback()(_group)
    app.add_typer(group, name=kind)


def _group() -> None:
    """Keeps `run` a named command while it is the only one."""


def _run(kind: str, flags: dict[str, Any], file: Path | None, dry_run: bool, as_json: bool) -> None:
    from_file = read_spec(file) if file else {}
    spec = build_spec({**from_file, **flags}, kind)
    if dry_run:
        for name, value in spec.model_dump().items():
            origin = "flag" if name in flags else "file" if name in from_file else "default"
            if origin == "default" and value != type(spec).model_fields[name].default:
                origin = "goal"
            typer.echo(f"{name:<30}{value!s:<40}{origin}")
        return
    from tunesmith.cli.progress import drive
    from tunesmith.services import worker

    drive(kind, lambda watcher: worker.start(spec, watcher), as_json)
