"""``tunesmith status``: what a running server has in hand."""

from typing import Any

import typer

from tunesmith.cli.references import AsJson, Url


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(status)


def status(url: Url = None, json: AsJson = False) -> None:
    """Workers, models and queues of a running server.

    Example: tunesmith status --json
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import print_json

    answer = client_of(url).get("/tunesmith/v1/status")
    if json:
        print_json(answer)
        return
    for name, value in answer.items():
        for i, line in enumerate(_lines(value)):
            typer.echo(f"{name.replace('_', ' ') if i == 0 else '':<22}{line}")


def _lines(value: Any) -> list[str]:
    """A value as a person reads it: an item to a line."""
    if isinstance(value, list):
        return [_line(item) for item in value] or ["none"]
    return [_line(value)]


def _line(value: Any) -> str:
    return "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
