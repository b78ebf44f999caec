"""``tunesmith plan``: what a spec will take, before anything is spent."""

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.jobs import GOAL_HELP
from tunesmith.spec import build_spec, read_spec


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(plan)


def plan(
    spec: Annotated[Path, typer.Argument(help="YAML or TOML file with kind, base_model, dataset and settings.")],
    goal: Annotated[str | None, typer.Option(help=GOAL_HELP)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON on the last line.")] = False,
) -> None:
    """Steps, tokens, memory and time of a spec, before anything is spent.

    Checks all that a job would refuse, then rehearses a few steps in a folder that is thrown away.

    Example: tunesmith plan job.yaml
    """
    checked = build_spec({**read_spec(spec), **({"goal": goal} if goal else {})})
    from tunesmith.cli.output import print_json
    from tunesmith.services import rehearsal

    found = rehearsal.plan(checked)
    if json:
        print_json(found.as_dict())
        return
    rows = {
        "steps": f"{found.steps:,}",
        "rollouts per step": f"{found.rollouts_per_step:,}",
        "optimizer updates": f"{found.optimizer_updates:,}",
        "tokens": f"{found.tokens:,}",
        "peak memory": f"{found.peak_memory_bytes / 2**20:,.0f} MB",
        "time": f"{found.seconds:,.0f} s" if found.seconds < 300 else f"{found.seconds / 60:,.0f} min",
    }
    for name, text in rows.items():
        typer.echo(f"{name:<22}{text}")
