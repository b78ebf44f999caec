"""``tunesmith keys create``, ``list`` and ``revoke``: who may use the server. Works beside a server that runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.nouns import add_group
from tunesmith.cli.references import AsJson
from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir
from tunesmith.cli.stores import store_of

if TYPE_CHECKING:
    from tunesmith.services.keys import Keys


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, create, list_keys, revoke)


def create(
    name: Annotated[str, typer.Option(help="What it is for, to know it by.")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is; keys of one owner see the same models.")] = "default",
    scope: Annotated[str, typer.Option(help="What it may do: read, infer, train (with infer) or admin.")] = "admin",
    days: Annotated[float | None, typer.Option(help="How long it is good; default: for ever.")] = None,
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: Annotated[bool, typer.Option("--json", help="Print key, id, name and owner as JSON.")] = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept.

    Example: tunesmith keys create --name laptop
    """
    from tunesmith.cli.output import print_json, say

    keys = _keys(data_dir, database_url)
    key = keys.create(owner, name, scope=scope, days=days)
    info = keys.find(key)
    assert info is not None, "it was just made"
    if json:
        print_json({"key": key, "id": info.id, "name": info.name, "owner": info.owner})
        return
    say(f"{info.id} of {info.owner}; shown this once")
    typer.echo(key)


def list_keys(
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """List keys: id, beginning, owner, name, when made, last used and revoked.

    Example: tunesmith keys list
    """
    from dataclasses import asdict

    from tunesmith.cli.output import minute, print_json

    found = _keys(data_dir, database_url, there=True).list()
    if json:
        print_json([asdict(info) for info in found])
        return
    typer.echo(f"{'id':<14}{'key':<11}{'owner':<16}{'name':<20}{'made':<18}{'used':<18}state")
    for info in found:
        until = f" until {minute(info.expires_at)}" if info.expires_at else ""
        state = f"{info.scope}{until}" if info.revoked_at is None else f"revoked {minute(info.revoked_at)}"
        times = f"{minute(info.created_at):<18}{minute(info.last_used_at):<18}"
        typer.echo(f"{info.id:<14}{info.prefix + '…':<11}{info.owner:<16}{info.name or '-':<20}{times}{state}")


def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it.")],
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """Refuse a key from its next request on.

    Example: tunesmith keys revoke key-1a2b3c4d
    """
    from dataclasses import asdict

    from tunesmith.cli.output import tell

    info = _keys(data_dir, database_url, there=True).revoke(key_id)
    tell(asdict(info), f"{info.id} ({info.prefix}…) is revoked", json)


def _keys(data_dir: Path, database_url: str, there: bool = False) -> "Keys":
    from tunesmith.services.keys import Keys

    return Keys(store_of(data_dir, database_url, there))
