"""The same services on PostgreSQL, where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from databases import Postgres
from server.running import RunningServer

from tunesmith.core.errors import UserError
from tunesmith.services.keys import Keys
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.store import open_store

pytestmark = pytest.mark.thorough
WRITES, WRITERS = 20, 3
WRITER = """
import sys
from tunesmith.services.keys import Keys
from tunesmith.services.store import open_store
keys = Keys(open_store(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    keys.create()
"""


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
