"""``tunesmith doctor``: what on this machine is fit for work, and how to mend what is not."""

from typing import TYPE_CHECKING

import typer

from tunesmith.cli.references import AsJson, Url
from tunesmith.cli.serve import HOME, DataDir
from tunesmith.core.errors import Denied, UserError

if TYPE_CHECKING:
    from tunesmith.services.doctor import Check

COLORS = {"green": "green", "amber": "yellow", "red": "red"}


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(doctor)


def doctor(data_dir: DataDir = HOME, url: Url = None, json: AsJson = False) -> None:
    """What on this machine is fit for work, and how to mend what is not.

    Looks at Python, torch, memory, disk, the sandbox and the server; exit code 1 where something is red.

    Example: tunesmith doctor
    """
    from dataclasses import asdict

    from tunesmith.cli.output import print_json
    from tunesmith.services.doctor import look_at_machine

    checks = [*look_at_machine(data_dir.expanduser().resolve()), _server(url)]
    if json:
        print_json([asdict(check) for check in checks])
    for check in () if json else checks:
        typer.secho(f"{check.light:<7}", fg=COLORS[check.light], nl=False)
        typer.echo(f"{check.name:<10}{check.saw}")
        if check.mend:
            typer.echo(f"{'':17}{check.mend}")
    if any(check.light == "red" for check in checks):
        raise typer.Exit(1)


def _server(url: str | None) -> "Check":
    """Jobs run without one too, so that none is no more than amber."""
    from tunesmith.cli.client import client_of
    from tunesmith.services.doctor import Check

    try:
        client = client_of(url)
        status = client.get("/tunesmith/v1/status")
    except Denied as e:
        return Check("server", "amber", f"{e.where}: {e.problem}", e.mend or "tunesmith login")
    except UserError as e:
        return Check("server", "amber", f"{e.where}: {e.problem}", e.mend or "tunesmith serve")
    return Check("server", "green", f"{client.url} is Tunesmith {status['version']}", "")
