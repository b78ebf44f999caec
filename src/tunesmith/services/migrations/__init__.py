"""Brings a database to the tables of this release: revision after revision, all of them or none.

``versions/`` holds the revisions; ``make migration m="why"`` writes the next from what the row classes have become.
A database that was made before there were revisions is taken for one of the first.

Alembic is imported where tables change: nearly every process opens a database, and nearly all find it as they want it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from tunesmith.core.errors import Conflict

if TYPE_CHECKING:
    from alembic.config import Config

_VERSIONS = Path(__file__).parent / "versions"
_LOCK = 7_385_001
"""Any number that all our processes agree on: PostgreSQL's lock while a database is brought up to date."""

TABLE = "alembic_version"
"""Holds the revision; every other table holds rows of ours."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which revision a database is at, and which this release wants."""

    revision: str
    """Empty where it has none yet."""
    wanted: str


def config(connection: Connection | None = None) -> "Config":
    """What Alembic has to know; without an ``alembic.ini``, because the revisions are part of the package."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.set_main_option("path_separator", "os")
    made.set_main_option("file_template", "%%(rev)s")
    made.attributes["connection"] = connection
    return made


def standing(engine: Engine) -> Standing:
    """Look, and change nothing."""
    with engine.connect() as connection:
        return Standing(revision_of(connection), _wanted())


def upgrade(engine: Engine, to: str = "head") -> Standing:
    """Bring a database to a revision in one transaction; where it stood before.

    Several processes may do it at once, and each may be killed at any moment.

    Raises:
        Conflict: a later release made it.
    """
    with engine.connect() as connection:
        if before := revision_of(connection):
            _refuse_later(before)
            if before == _wanted():
                return Standing(before, before)
    from alembic import command

    with _at_work(engine) as connection:
        before = revision_of(connection)
        command.upgrade(config(connection), to)
    return Standing(before, _wanted())


def downgrade(engine: Engine) -> Standing:
    """Bring a database back by one revision, for an earlier release; where it stood before.

    What the earlier release has no place for is lost: take a back-up first.

    Raises:
        Conflict: there is no way back from where it is.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    with _at_work(engine) as connection:
        before = revision_of(connection)
        if not before:
            mend = "Name the one you mean with --data-dir or --database-url"
            raise Conflict("database", "is at no revision, so there is nothing to bring back", mend)
        _refuse_later(before)
        script = ScriptDirectory.from_config(config()).get_revision(before)
        if script is None or not hasattr(script.module, "downgrade"):
            problem = f"is at revision {before}, from which there is no way back"
            raise Conflict("database", problem, "Restore a back-up of the release that you want")
        command.downgrade(config(connection), "-1")
    return Standing(before, _wanted())


@contextmanager
def _at_work(engine: Engine) -> Iterator[Connection]:
    """One transaction in which tables may change: all of it or nothing, and one process at a time."""
    with closing(engine.connect()) as connection:
        if connection.dialect.name == "sqlite":
            # A table that is made anew is dropped first, and that would take the rows with it that refer to its own.
            # Not ``execute``, which would begin the transaction in which this has no effect.
            _driver_execute(connection, "PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                yield connection
        finally:
            if connection.dialect.name == "sqlite":
                _driver_execute(connection, "PRAGMA foreign_keys=ON")


def _driver_execute(connection: Connection, statement: str) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None, "it is open"
    driver.execute(statement)


def revision_of(connection: Connection) -> str:
    """The revision that a database is at; empty where it has none."""
    if not inspect(connection).has_table(TABLE):
        return ""
    return connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar() or ""


@cache
def _known() -> tuple[str, ...]:
    """The revisions of this release in their order: each is named as its file, number first."""
    return tuple(sorted(file.stem for file in _VERSIONS.glob("[0-9]*.py")))


def _wanted() -> str:
    return _known()[-1]


def _refuse_later(revision: str) -> None:
    if revision not in _known():
        problem = f"is at revision {revision!r}, which this release does not know"
        raise Conflict("database", problem, "Install the release that made it, or restore a back-up from before it")
