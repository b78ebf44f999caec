"""The two ways out: talk to the person on stderr, results to the next program on stdout."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from tunesmith.core.errors import UserError

LEVEL_COLORS = {"error": "red", "warning": "yellow", "info": "cyan"}


def say(text: str, **style: Any) -> None:
    """To the person, on stderr."""
    typer.secho(text, err=True, **style)


def print_json(value: Any) -> None:
    """One value, the last line of stdout."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")


def tell(result: Any, text: str, as_json: bool) -> None:
    """What a command did: in words to the person, or as JSON to the next program."""
    if as_json:
        print_json(result)
    else:
        say(text)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Rows under headings, as wide as they have to be.

    Args:
        columns: heading -> key of the rows.
    """
    cells = [[_cell(row.get(key)) for key in columns.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (list(columns), *cells):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(fields: Mapping[str, Any]) -> None:
    """A name and a value to a line; what is empty is left out."""
    for name, value in fields.items():
        if value not in (None, "", [], {}):
            typer.echo(f"{name.replace('_', ' '):<22}{_cell(value)}")


def show_settings(settings: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """A setting to a line, with where it comes from."""
    for name, value in settings.items():
        typer.echo(f"{name:<30}{value!s:<40}{origins[name]}")


def confirm(question: str, yes: bool) -> None:
    """Ask before something is gone.

    Raises:
        typer.Abort: the person does not want it. UserError: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("--yes", "is missing, and there is no terminal to ask at", "Give it to go ahead")
    typer.confirm(question, abort=True, err=True)


def ask_hidden(what: str) -> str:
    """What may not be seen: typed without an echo, or read from a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.read().rstrip("\n")
    return str(typer.prompt(what, hide_input=True, err=True))


def minute(time: str | None) -> str:
    """A time as people read it, UTC; a dash where there is none."""
    return time[:16].replace("T", " ") if time else "-"


def counted(number: int, what: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value in (None, "") else str(value)
