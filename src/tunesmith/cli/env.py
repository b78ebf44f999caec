"""``tunesmith env``: the lines that point a client you already have at the server."""

from typing import Annotated

import typer

from tunesmith.cli.references import AsJson, Url

CLIENTS: dict[str, dict[str, str]] = {
    "openai": {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "{key}"},
    "fireworks": {
        "FIREWORKS_BASE_URL": "{url}",
        "FIREWORKS_API_BASE": "{url}",
        "FIREWORKS_API_KEY": "fw_{secret}",
        "FIREWORKS_ACCOUNT_ID": "{account}",
        "EP_LLM_API_BASE": "{url}/inference/v1",
        "HF_ENDPOINT": "{url}",
    },
    "tinker": {"TINKER_BASE_URL": "{url}", "TINKER_API_KEY": "{key}", "HF_ENDPOINT": "{url}"},
    "tunesmith": {"TUNESMITH_URL": "{url}", "TUNESMITH_API_KEY": "{key}"},
}
"""Client -> variable -> what it is set to."""


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(env)


def env(
    client: Annotated[str, typer.Argument(help=f"One of {', '.join(CLIENTS)}.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """The lines that point a client you already have at the server.

    They hold your key.

    Example: tunesmith env fireworks
    """
    import os
    import shlex

    from tunesmith.cli.client import Client
    from tunesmith.cli.login import login_of
    from tunesmith.cli.output import print_json
    from tunesmith.core.errors import unknown

    if client not in CLIENTS:
        raise unknown("client", client, CLIENTS)
    login = login_of(url, os.environ)
    known = {"url": login.url, "key": login.key, "secret": login.key.removeprefix("tml-"), "account": ""}
    if client == "fireworks":
        known["account"] = Client(login).get("/v1/accounts")["accounts"][0]["name"].removeprefix("accounts/")
    lines = {name: value.format(**known) for name, value in CLIENTS[client].items()}
    if json:
        print_json(lines)
        return
    for name, value in lines.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
