"""What the commands of every noun of a server share: their group, lists, how one is named, fetched and removed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from tunesmith.cli.client import Client, client_of, path_of
from tunesmith.cli.listing import Listing
from tunesmith.cli.output import confirm, minute, print_fields, print_json, print_table, tell
from tunesmith.cli.references import MOST, job_of, one_of

JOBS = ("jobs", "evaluations")
"""Nouns whose things have an id of the server's beside their name."""
Thing = Mapping[str, Any]
"""One of a noun, as the server shows it."""


def add_group(app: typer.Typer, name: str, *commands: Callable[..., None]) -> None:
    """A group of commands; each is called by the first word of its function's name."""
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(cls=Listing, help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    # With a callback, a group of one command keeps its name.
    group.callback()(_group)
    for command in commands:
        group.command(command.__name__.partition("_")[0])(command)
    app.add_typer(group, name=name)


def _group() -> None:
    """Options of no command."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing of a server, by its full name."""

    client: Client
    path: str
    """Its address."""
    name: str
    """Its id, or of a model its name."""

    def get(self, part: str = "", **query: Any) -> Any:
        return self.client.get(f"{self.path}{part}", **query)

    def post(self, part: str, body: Thing | None = None) -> Any:
        return self.client.post(f"{self.path}{part}", body)


def find(noun: str, name: str, url: str | None) -> Found:
    """The thing that a person means by an id, the beginning of it, or ``@latest``.

    Raises:
        NotFound: there is none; names near ones. Conflict: several begin so; names them.
    """
    client = client_of(url)
    key = "name" if noun == "models" else "id"
    full = job_of(client, name, noun) if noun in JOBS else one_of(client, noun, name, key)
    return Found(client, path_of(noun, full), full)


def show_list(
    found: list[dict[str, Any]], as_json: bool, columns: Mapping[str, str], row: Callable[[Thing], Thing] = dict
) -> None:
    """Things as a table, or as the server shows them.

    Args:
        columns: heading -> key of a row; ``created`` is there for each.
        row: a thing -> what is shown of it.
    """
    if as_json:
        print_json(found)
    else:
        print_table([{"created": minute(one.get("created_at")), **row(one)} for one in found], columns)


def listed(noun: str, url: str | None, limit: int = MOST) -> list[dict[str, Any]]:
    """The newest of a noun."""
    return list(client_of(url).get(path_of(noun), limit=limit)["items"])


def show(thing: Thing, as_json: bool, fields: Thing) -> None:
    """One thing: a field to a line, or as the server shows it."""
    if as_json:
        print_json(thing)
    else:
        print_fields(fields)


def fetch(found: Found, part: str, file: Path, as_json: bool) -> None:
    """Write what is at an address below a thing to a file, and print its name."""
    size = found.client.download(f"{found.path}{part}", file)
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        typer.echo(file)


def do(verb: str, noun: str, name: str, url: str | None, as_json: bool) -> None:
    """Have something done to a job or an evaluation, and say how it is then."""
    shown = find(noun, name, url).post(f"/{verb}")
    tell(shown, f"{shown['id']} is {shown['state']}", as_json)


def discard(found: Found, question: str, yes: bool, as_json: bool) -> None:
    """Ask, unless told not to, and delete."""
    confirm(question, yes)
    found.client.delete(found.path)
    tell({"id": found.name, "deleted": True}, f"{found.name} is deleted", as_json)
