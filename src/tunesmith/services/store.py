"""The database: a file beside the data by default, PostgreSQL by URL. Each room keeps its own tables on ``Base``."""

import asyncio
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Connection, Engine, Row, Select, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session

from tunesmith.core.errors import UserError
from tunesmith.services import migrations

BUSY_MS = 3_000
"""How long a transaction waits for another process's before it fails."""
PATIENT_MS = 15_000
"""The same where nobody waits for an answer."""
BUSY_LOOP_MS = 500
"""The same in a thread that runs an event loop, once a second: everybody waits with it."""
POOL = {"pool_size": 10, "max_overflow": 60, "pool_timeout": 5.0}
"""More connections than a server has threads, so that none waits for one while the database is busy."""
FILE_NAME = "tunesmith.db"
_READS, _ASKS = "tunesmith_reads", "tunesmith_asks"
_STARTS, _AT_ONCE = "tunesmith_starts", "tunesmith_at_once"
_TURN = "tunesmith_turn"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")

Columns = TypeVarTuple("Columns")
Kept = TypeVar("Kept")


class Base(DeclarativeBase):
    """The parent of every table."""


class Store:
    """Short transactions on one database; safe from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{_READS: True})
        self._asker = engine.execution_options(**{_ASKS: True})
        self._hasty = engine.execution_options(**{_AT_ONCE: True})

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with _text_checked(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def begin_at_once(self) -> Iterator[Session]:
        """The same, where it need not wait: OperationalError while SQLite's file is another's to write."""
        with _text_checked(), Session(self._hasty, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads: it waits for nobody, and nobody for it."""
        with _text_checked(), Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    def rows(self, statement: Select[*Columns], **values: Any) -> Sequence[Row[*Columns]]:
        """Read columns, at a quarter of what a session costs: for what every request asks."""
        with _text_checked(), self._asker.connect() as connection:
            return connection.execute(statement, values).all()

    def found(self, kind: type[Kept], statement: Select[*tuple[Any, ...]], **values: Any) -> Sequence[Kept]:
        """Whole rows, read like columns: what is changed of them is not written."""
        return [kind(**row._mapping) for row in self.rows(statement, **values)]

    @property
    def is_file(self) -> bool:
        """Whether the database is a file of this machine, whose readers wait for nobody."""
        return self._engine.dialect.name == "sqlite"

    def started(self) -> None:
        """From now on somebody waits for answers: no transaction may wait as long as those of a start."""
        self._engine.update_execution_options(**{_STARTS: False})

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()


@contextmanager
def _text_checked() -> Iterator[None]:
    """PostgreSQL has no place for some characters, not even to look for them.

    Raises:
        UserError: a name or text with one of them.
    """
    try:
        yield
    except DataError as e:
        problem = f"cannot be kept or looked for: {str(e.orig).strip().splitlines()[0]}"
        raise UserError("request", problem, "Leave such characters out") from None


def file_url(data_dir: Path) -> str:
    """The URL of the database that lies in a data directory."""
    return URL.create("sqlite", database=str(data_dir / FILE_NAME)).render_as_string()


def open_store(url: str, busy_ms: int = BUSY_MS, starting: bool = False) -> Store:
    """Open a database, at the tables of this release: one of an earlier release is upgraded.

    Args:
        url: as for ``open_engine``.
        busy_ms: how long a transaction waits for another process's.
        starting: until ``started`` is called, nobody waits for an answer, and a refusal would be the end of a server.

    Raises:
        UserError: as for ``open_engine``, or a database that a later release made.
    """
    engine = open_engine(url, busy_ms)
    engine.update_execution_options(**{_STARTS: starting})
    with refused(engine):
        migrations.upgrade(engine)
    return Store(engine)


def open_engine(url: str, busy_ms: int = BUSY_MS) -> Engine:
    """Connections to a database, whatever its tables.

    Args:
        url: ``sqlite:///path/to/file.db`` or ``postgresql://user:password@host/name``.

    Raises:
        UserError: another kind of database or a missing driver.
    """
    parsed = _parse(url)
    shown = parsed.render_as_string(hide_password=True)
    try:
        is_server = parsed.get_backend_name() == "postgresql"
        # What errors say goes to logs and rows, where no value of a row belongs.
        engine = create_engine(parsed, pool_pre_ping=is_server, hide_parameters=True, **POOL)
    except ModuleNotFoundError as e:
        raise UserError(shown, f"the driver {e.name!r} is not installed", "pip install 'tunesmith[postgres]'") from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        transactions = _Transactions(busy_ms)
        event.listen(engine, "begin", transactions.begin)
        event.listen(engine, "commit", transactions.end)
        event.listen(engine, "rollback", transactions.end)
    return engine


@contextmanager
def refused(engine: Engine) -> Iterator[None]:
    """Say what is wrong with a database that cannot be used at all.

    Raises:
        UserError: no answer, no right to write, no database.
    """
    try:
        yield
    except DBAPIError as e:
        engine.dispose()
        problem = f"cannot be used: {str(e.orig).strip().splitlines()[0]}"
        mend = "Check that it is there, that you may write to it, and its password"
        raise UserError(engine.url.render_as_string(hide_password=True), problem, mend) from None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError("database-url", "is no URL of a database", _forms()) from None
    if parsed.drivername in _POSTGRES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise UserError("database-url", f"unknown kind of database {parsed.drivername!r}", _forms())
    if parsed.database:
        Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return parsed


def _forms() -> str:
    return "Give sqlite:///path/to/file.db or postgresql://user:password@host/name"


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers beside a writer, commits that outlive a power cut, references that are checked, waiting for others."""
    # The driver's own habit is to begin late and for reading only; see _Transactions.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class _Transactions:
    """Begins SQLite's transactions, and lets those of this process that write take turns.

    One that may write asks for that right at once: one that reads first and writes later fails instead of waiting its
    turn. SQLite itself lets writers look again after longer and longer pauses, so that late ones overtake early ones.
    """

    def __init__(self, busy_ms: int) -> None:
        self._busy_ms = busy_ms
        self._refused_at = -math.inf
        """When an event loop had waited in vain."""
        self._turn = threading.Lock()

    def begin(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(_ASKS):
            # One statement is a transaction; each of three would let other threads in, and wait for its turn again.
            return
        if options.get(_READS):
            connection.exec_driver_sql("BEGIN")
            return
        in_loop = _runs_a_loop() and not options.get(_STARTS)
        patience = BUSY_LOOP_MS if in_loop else PATIENT_MS if options.get(_STARTS) else self._busy_ms
        if options.get(_AT_ONCE) or (in_loop and time.monotonic() - self._refused_at < 1):
            patience = 0
        began = time.monotonic()
        # Whoever does not get its turn in time asks SQLite all the same: it alone knows who writes.
        connection.info[_TURN] = self._turn.acquire(timeout=patience / 1000)
        left = max(0, patience - int(1000 * (time.monotonic() - began)))
        try:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={left}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            self.end(connection)
            if in_loop and not options.get(_AT_ONCE):
                self._refused_at = time.monotonic()
            raise

    def end(self, connection: Connection) -> None:
        """What was written is being committed or undone: the next waits for that alone."""
        if connection.info.pop(_TURN, False):
            self._turn.release()


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def utc_now() -> str:
    """The time as rows hold it: UTC, RFC 3339, milliseconds."""
    return as_text(datetime.now(UTC))


def as_text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
