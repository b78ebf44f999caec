"""``tunesmith plan``: what a spec will take, before anything is spent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
    from tunesmith.cli.output import print_fields, print_json
    from tunesmith.services import rehearsal

    found = rehearsal.plan(checked)
    if json:
        print_json(found.as_dict())
        return
    print_fields(fields_of(found.as_dict()))


def fields_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """What a job will take, as people read it."""
    seconds = plan["seconds"]
    return {
        "steps": f"{plan['steps']:,}",
        "rollouts per step": f"{plan['rollouts_per_step']:,}",
        "optimizer updates": f"{plan['optimizer_updates']:,}",
        "tokens": f"{plan['tokens']:,}",
        "peak memory": f"{plan['peak_memory_bytes'] / 2**20:,.0f} MB",
        "time": f"{seconds:,.0f} s" if seconds < 300 else f"{seconds / 60:,.0f} min",
    }
