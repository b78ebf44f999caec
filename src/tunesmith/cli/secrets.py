"""``tunesmith secrets``: what evaluators on the server may use, such as a judge's key. Values are never shown again."""

from typing import Annotated

import typer

from tunesmith.cli.client import client_of, path_of
from tunesmith.cli.nouns import Found, add_group, discard, show_list
from tunesmith.cli.output import ask_hidden, minute, tell
from tunesmith.cli.references import AsJson, Url, Yes

Name = Annotated[str, typer.Argument(help="Name of the environment variable that it becomes.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, set_secret, list_secrets, delete)


def set_secret(name: Name, url: Url = None, json: AsJson = False) -> None:
    """Keep a value, which is asked for or read from a pipe: arguments can be seen by others.

    Example: tunesmith secrets set OPENAI_API_KEY
    """
    client = client_of(url)
    tell(client.put(path_of("secrets", name), {"value": ask_hidden("Value")}), f"{name} is kept", json)


def list_secrets(url: Url = None, json: AsJson = False) -> None:
    """List names, never values.

    Example: tunesmith secrets list
    """
    found = client_of(url).get("/secrets")["items"]
    headings = {"name": "name", "changed": "changed"}
    show_list(found, json, headings, lambda one: {**one, "changed": minute(one["updated_at"])})


def delete(name: Name, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Forget a secret.

    Example: tunesmith secrets delete OPENAI_API_KEY --yes
    """
    discard(Found(client_of(url), path_of("secrets", name), name), f"Delete secret {name}?", yes, json)
