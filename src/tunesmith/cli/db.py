"""``tunesmith db``: the database's revision, back-ups and their return. The server upgrades it by itself on start."""

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.nouns import add_group
from tunesmith.cli.output import print_json, say, tell
from tunesmith.cli.references import AsJson
from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir
from tunesmith.cli.stores import url_of


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, current, upgrade, downgrade, backup, restore)


def current(data_dir: DataDir = HOME, database_url: DatabaseUrl = "", json: AsJson = False) -> None:
    """Print the revision of the database, and say which one this release wants.

    Example: tunesmith db current
    """
    from tunesmith.services import migrations
    from tunesmith.services.store import open_engine, refused

    engine = open_engine(url_of(data_dir, database_url, there=True))
    with refused(engine):
        found = migrations.standing(engine)
    if json:
        print_json({"revision": found.revision, "wanted": found.wanted})
        return
    if found.revision != found.wanted:
        say(f"this release wants {found.wanted}; the server upgrades on start, and so does: tunesmith db upgrade")
    typer.echo(found.revision or "none")


def upgrade(data_dir: DataDir = HOME, database_url: DatabaseUrl = "", json: AsJson = False) -> None:
    """Bring the database to the tables of this release.

    Example: tunesmith db upgrade --data-dir ./data
    """
    from tunesmith.services import migrations
    from tunesmith.services.store import open_engine, refused

    engine = open_engine(url_of(data_dir, database_url))
    with refused(engine):
        before = migrations.upgrade(engine)
    if before.revision == before.wanted:
        said = f"the database is at {before.wanted} already"
    else:
        said = f"the database was at {before.revision or 'none'}, and is at {before.wanted} now"
    tell({"before": before.revision, "revision": before.wanted}, said, json)


def downgrade(data_dir: DataDir = HOME, database_url: DatabaseUrl = "", json: AsJson = False) -> None:
    """Bring the database back by one revision, for an earlier release; stop the server and take a back-up first.

    Example: tunesmith db downgrade --data-dir ./data
    """
    from tunesmith.services import migrations
    from tunesmith.services.store import open_engine, refused

    engine = open_engine(url_of(data_dir, database_url, there=True))
    with refused(engine):
        before = migrations.downgrade(engine)
        now = migrations.standing(engine)
    said = f"the database was at {before.revision}, and is at {now.revision} now; this release would upgrade it again"
    tell({"before": before.revision, "revision": now.revision}, said, json)


def backup(
    to: Annotated[Path, typer.Argument(help="File to write; it must not be there yet.")],
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """Copy the database into one file, beside a server that runs.

    Example: tunesmith db backup ./backups/monday.db
    """
    from tunesmith.services import backup as backups

    rows = backups.backup(url_of(data_dir, database_url, there=True), to.expanduser())
    said = f"{rows:,} rows are in {to}; the files of the data directory are copied after it, not before"
    tell({"file": str(to), "rows": rows}, said, json)


def restore(
    back_up: Annotated[Path, typer.Argument(help="File that `db backup` wrote.")],
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """Fill an empty database from a back-up, of this release or an earlier one; PostgreSQL from SQLite too.

    Example: tunesmith db restore ./backups/monday.db --data-dir ./data
    """
    from tunesmith.services import backup as backups

    rows = backups.restore(url_of(data_dir, database_url), back_up.expanduser())
    tell({"rows": rows}, f"{rows:,} rows are back", json)
