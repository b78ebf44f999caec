"""Empty databases at the tables of this release: files, and those of a PostgreSQL that the tests start themselves."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from tunesmith.services.store import FILE_NAME, file_url, open_engine, open_store

PG_CTL = shutil.which("pg_ctl") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
"""Debian keeps it off the PATH."""
TEMPLATE = "as_released"


def files_from(folder: Path) -> Callable[[Path], str]:
    """``database(data_dir)``: the URL of a file there. Revisions run once, in ``folder``; from then on it is copied."""
    open_store(file_url(folder)).close()

    def database(data_dir: Path) -> str:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not (file := data_dir / FILE_NAME).exists():
            shutil.copyfile(folder / FILE_NAME, file)
        return file_url(data_dir)

    return database


@dataclass(slots=True)
class Postgres:
    """A server of the database on this machine, and an empty database in it."""

    folder: Path
    user: list[str]
    """What comes before a command: PostgreSQL refuses to run as root, so root runs it as its own user."""
    port: int
    made: int = 0
    """Databases that were copied from the template."""

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://tunesmith@127.0.0.1:{self.port}/{database}"

    def control(self, *arguments: str) -> None:
        command = [*self.user, str(PG_CTL), "-s", "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        settings = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.control("-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self) -> None:
        """At once, as when the machine fails."""
        self.control("-m", "immediate", "stop")

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a database with all tables and no rows, which is gone afterwards."""
        if not self.made:
            self._do(f"CREATE DATABASE {TEMPLATE}")
            open_store(self.url_of(TEMPLATE)).close()
        self.made += 1
        name = f"copy_{self.made}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        try:
            yield self.url_of(name)
        finally:
            self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        engine = open_engine(self.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start one; tests are skipped where it is not installed."""
    if PG_CTL is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp())
    user: list[str] = []
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL has no user here")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Postgres(folder, user, port)
    made.control("initdb", "-o", "-A trust -U tunesmith --no-sync")
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
