"""The same services on PostgreSQL, where it is installed."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from server.running import RunningServer

from tunesmith.core.errors import UserError
from tunesmith.services.keys import Keys
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.store import open_store

pytestmark = pytest.mark.thorough
PG_CTL = shutil.which("pg_ctl") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
"""Debian keeps it off the PATH."""
WRITES, WRITERS = 20, 3
WRITER = """
import sys
from tunesmith.services.keys import Keys
from tunesmith.services.store import open_store
keys = Keys(open_store(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    keys.create()
"""


@dataclass(slots=True)
class Postgres:
    """A server of the database on this machine, and an empty database in it."""

    folder: Path
    user: list[str]
    """What comes before a command: PostgreSQL refuses to run as root, so root runs it as its own user."""
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://tunesmith@127.0.0.1:{self.port}/postgres"

    def control(self, *arguments: str) -> None:
        command = [*self.user, str(PG_CTL), "-s", "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        settings = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.control("-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
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


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """An empty database of its own."""
    return postgres.url


def test_processes_that_open_it_at_once_lose_nothing(url: str) -> None:
    command = [sys.executable, "-c", WRITER, url, str(WRITES)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(WRITERS)]
    assert [writer.communicate()[1].decode() for writer in writers] == [""] * WRITERS
    store = open_store(url)
    assert len(Keys(store).list()) == WRITES * WRITERS
    assert [model.name for model in Registry(store).models()] == [EMBEDDED]
    store.close()


def test_a_server_runs_on_it(url: str, tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data", "--database-url", url).start()
    try:
        assert server.stop() == 0
        assert not (tmp_path / "data" / "tunesmith.db").exists()
    finally:
        server.kill()


def test_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(UserError, match=r"tunesmith:\*\*\*@.*cannot be used: connection failed") as refused:
        open_store("postgresql://tunesmith:secret@127.0.0.1:1/postgres")
    assert "secret" not in str(refused.value)
