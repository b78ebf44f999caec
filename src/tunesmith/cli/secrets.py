"""``tunesmith secrets``: what evaluators on the server may use, such as a judge's key. Values are never shown again."""

import sys
from typing import Annotated

import typer

from tunesmith.cli.references import AsJson, Url, Yes

Name = Annotated[str, typer.Argument(help="Name of the environment variable that it becomes.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("set")(set_secret)
    group.command("list")(list_secrets)
    group.command("delete")(delete)
    app.add_typer(group, name=name)


def set_secret(name: Name, url: Url = None) -> None:
    """Keep a value, which is asked for or read from a pipe: arguments can be seen by others.

    Example: tunesmith secrets set OPENAI_API_KEY
    """
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.output import say

    client = client_of(url)
    piped = not sys.stdin.isatty()
    value = sys.stdin.read().rstrip("\n") if piped else typer.prompt("Value", hide_input=True, err=True)
    client.put(path_of("secrets", name), {"value": value})
    say(f"{name} is kept")


def list_secrets(url: Url = None, json: AsJson = False) -> None:
    """List names, never values.

    Example: tunesmith secrets list
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import minute, print_json, print_table

    found = client_of(url).get("/secrets")["items"]
    if json:
        print_json(found)
        return
    print_table(
        [{**one, "changed": minute(one["updated_at"])} for one in found], {"name": "name", "changed": "changed"}
    )


def delete(name: Name, yes: Yes = False, url: Url = None) -> None:
    """Forget a secret.

    Example: tunesmith secrets delete OPENAI_API_KEY --yes
    """
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.output import confirm, say

    client = client_of(url)
    confirm(f"Delete secret {name}?", yes)
    client.delete(path_of("secrets", name))
    say(f"{name} is deleted")
