"""``tunesmith dashboard``: a link to the web page of a server on this machine. Works beside a server that runs."""

from typing import Annotated

import typer

from tunesmith.cli.references import AsJson
from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir
from tunesmith.cli.stores import store_of


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(dashboard)


def dashboard(
    owner: Annotated[str, typer.Option(help="Whose jobs the page shows; as with keys.")] = "default",
    url: Annotated[str, typer.Option(help="Address of the server, for the link.")] = "http://127.0.0.1:8000",
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """A link that opens the web page of a running server.

    It opens once, within ten minutes.

    Example: tunesmith dashboard
    """
    from tunesmith.cli.output import print_json, say
    from tunesmith.services.keys import check_owner
    from tunesmith.services.logins import Logins, login_address

    check_owner(owner)
    store = store_of(data_dir, database_url, there=True)
    link = login_address(url, Logins(store).new_link(owner))
    store.close()
    if json:
        print_json({"url": link})
        return
    say("opens once, within ten minutes:")
    typer.echo(link)
