"""A back-up of the database: one SQLite file with all its rows, whichever database they came from or go to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, MetaData, func, insert, inspect, select, text
from sqlalchemy.engine import URL

from tunesmith.core import durable
from tunesmith.core.errors import Conflict, NotFound
from tunesmith.services import migrations
from tunesmith.services.store import open_engine, refused

CHUNK_ROWS = 1000


def backup(database_url: str, to: Path) -> int:
    """Copy every row of one moment into a new file; the number of rows. The server may run meanwhile.

    Raises:
        Conflict: the file is there already.
        NotFound: a database that has no revision.
    """
    if to.exists():
        raise Conflict(str(to), "is there already", "Give another name, or move it away")
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_name(f".tmp-{to.name}-{os.getpid()}")
    try:
        unfinished.touch(0o600)  # it holds what only the server's user may read
        with _connected(database_url) as source:
            revision = migrations.revision_of(source)
            if not revision:
                mend = "Check its address; one of an earlier release needs first: tunesmith db upgrade"
                raise NotFound("database", "has no revision", mend)
            rows = _fill(_file(unfinished), revision, source)
        durable.put_in_place(unfinished, to)
    finally:
        for rest in to.parent.glob(unfinished.name + "*"):
            rest.unlink()
    return rows


def restore(database_url: str, back_up: Path) -> int:
    """Fill an empty database from a back-up and bring it to the tables of this release; the number of rows.

    Raises:
        NotFound: no such file.
        Conflict: the file is no back-up or a later release's, or the database holds something already.
    """
    if not back_up.is_file():
        raise NotFound(str(back_up), "no such file", "Give one that `tunesmith db backup` wrote")
    with _connected(database_url) as target:
        if inspect(target).get_table_names():
            raise Conflict("database", "is not empty", "Move the old one away, or give an empty one")
    with _connected(_file(back_up)) as source:
        revision = migrations.revision_of(source)
        if not revision:
            raise Conflict(str(back_up), "is no back-up", "Give a file that `tunesmith db backup` wrote")
        rows = _fill(database_url, revision, source)
    engine = open_engine(database_url)
    migrations.upgrade(engine)
    engine.dispose()
    return rows


def _fill(database_url: str, revision: str, source: Connection) -> int:
    """Copy all rows to an empty database with the tables of their revision."""
    engine = open_engine(database_url)
    with refused(engine):
        migrations.upgrade(engine, revision)
        with engine.begin() as target:
            rows = _copy(source, target)
    engine.dispose()
    return rows


def _copy(source: Connection, target: Connection) -> int:
    theirs, ours = MetaData(), MetaData()
    theirs.reflect(source)
    ours.reflect(target)
    copied = 0
    # Sorted so that what others refer to comes first.
    for table in ours.sorted_tables:
        if table.name == migrations.TABLE:
            continue
        for part in source.execute(select(theirs.tables[table.name])).mappings().partitions(CHUNK_ROWS):
            target.execute(insert(table), [dict(row) for row in part])
            copied += len(part)
        counted = table.autoincrement_column
        if counted is not None and target.dialect.name == "postgresql":
            sequence = func.pg_get_serial_sequence(table.name, counted.name)
            target.execute(select(func.setval(sequence, func.coalesce(func.max(counted), 0) + 1, text("false"))))
    return copied


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    """One transaction that sees one moment of the database."""
    engine = open_engine(database_url)
    try:
        with refused(engine), engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection
    finally:
        engine.dispose()


def _file(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()
