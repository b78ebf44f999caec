"""A database of an earlier release opens, whole, however often the way there is interrupted."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server.running import RunningServer
from server.test_postgres import url  # noqa: F401  # a fixture
from sqlalchemy import MetaData, select, text

from tunesmith.core.errors import Conflict, NotFound
from tunesmith.services import migrations
from tunesmith.services.backup import backup, restore
from tunesmith.services.datasets import Datasets
from tunesmith.services.keys import Keys
from tunesmith.services.store import FILE_NAME, file_url, open_engine, open_store

RELEASE_0_1 = (Path(__file__).parent / "release_0_1.sql").read_text("utf-8")
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_migration.py"
UPGRADE = """
import sys
from tunesmith.services import migrations
from tunesmith.services.store import open_engine
engine = open_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrations.upgrade(engine)
"""


def old_database(data_dir: Path) -> tuple[str, str]:
    """(URL of a database as release 0.1 left it, a key that it knows)."""
    data_dir.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(data_dir / FILE_NAME)
    connection.executescript(RELEASE_0_1)
    connection.close()
    [key] = re.findall(r"Its key is (\S+)", RELEASE_0_1)
    return file_url(data_dir), key


def everything(database_url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table of ours."""
    engine = open_engine(database_url)
    with engine.begin() as connection:
        tables = MetaData()
        tables.reflect(connection)
        found = {
            table.name: sorted(tuple(map(repr, row)) for row in connection.execute(select(table)))
            for table in tables.sorted_tables
            if table.name != migrations.TABLE
        }
    engine.dispose()
    return found


def check_rows(*flags: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check", *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + '\nmend: make migration m="what changes"'


@pytest.mark.thorough
def test_row_classes_are_what_the_revisions_make() -> None:
    check_rows()


@pytest.mark.thorough
def test_row_classes_are_what_the_revisions_make_on_postgresql(url: str) -> None:  # noqa: F811
    check_rows("--database-url", url)


def test_an_old_database_is_upgraded_with_all_its_rows(tmp_path: Path) -> None:
    address, key = old_database(tmp_path)
    before = everything(address)
    store = open_store(address)
    assert Keys(store).owner_of(key) == "ann"
    assert [dataset.num_bytes for dataset in Datasets(store, tmp_path).page("ann")[0]] == [760]
    store.close()
    after = everything(address)
    before["deployments"] = before.pop("training_deployments")
    assert {name: len(rows) for name, rows in before.items()} == {name: len(after[name]) for name in before}
    assert [row[:3] for row in after["deployments"]] == [("'ann'", "'mine'", "'tunesmith/embedded'")]
    assert after["job_events"] == before["job_events"], "they refer to a job, whose table may be made anew"
    engine = open_engine(address)
    assert migrations.standing(engine).revision == migrations.standing(engine).wanted
    with engine.begin() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()


@pytest.mark.thorough
def test_a_server_starts_on_an_old_database(tmp_path: Path) -> None:
    _, key = old_database(tmp_path / "data")
    server = RunningServer(tmp_path / "data").start()
    try:
        command = [sys.executable, "-m", "tunesmith.cli.main", "status", "--url", server.base_url, "--json"]
        done = subprocess.run(
            command, env={**os.environ, "TINKER_API_KEY": key}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "TINKER_API_KEY=" not in server.log(), "there was a key already"
    finally:
        server.kill()


def test_the_way_back_and_forth_keeps_what_both_know(tmp_path: Path, database: Callable[[Path], str]) -> None:
    """Down to where there is no way back, and up again: all rows but those that the earlier release cannot hold."""
    address = database(tmp_path)
    store = open_store(address)
    keys = Keys(store)
    mine, small = keys.create("ann"), keys.create("ann", scope="read")
    Datasets(store, tmp_path).create("ann", "sums")
    store.close()
    before, engine, steps = everything(address), open_engine(address), 0
    while migrations.standing(engine).revision > "0005":
        at = migrations.downgrade(engine).revision
        assert migrations.standing(engine).revision < at
        steps += 1
    assert steps >= 2
    with pytest.raises(Conflict, match="there is no way back"):
        migrations.downgrade(engine)
    engine.dispose()
    store = open_store(address)
    assert Keys(store).owner_of(mine) == "ann"
    assert Keys(store).find(small) is None, "it would have been one that may do everything"
    store.close()
    after = everything(address)
    assert after.keys() == before.keys() and after["datasets"] == before["datasets"] and len(after["keys"]) == 1


def test_a_database_without_tables_has_no_way_back(tmp_path: Path) -> None:
    engine = open_engine(file_url(tmp_path))
    with pytest.raises(Conflict, match="is at no revision"):
        migrations.downgrade(engine)
    engine.dispose()


def test_a_database_of_a_later_release_is_refused(tmp_path: Path) -> None:
    open_store(file_url(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
    connection.close()
    with pytest.raises(Conflict, match="'9999_later', which this release does not know"):
        open_store(file_url(tmp_path))


@pytest.mark.thorough
def test_killed_upgrades_leave_all_or_nothing(tmp_path: Path) -> None:
    """kill -9 at moments spread over an upgrade; every time the next opening finds a whole database."""
    whole, half = 0, 0
    for number in range(12):
        address, key = old_database(tmp_path / str(number))
        before = everything(address)
        process = subprocess.Popen(
            [sys.executable, "-c", UPGRADE, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(number * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        engine = open_engine(address)
        revision = migrations.standing(engine).revision
        engine.dispose()
        assert revision in ("", migrations.standing(engine).wanted)
        whole, half = whole + (revision != ""), half + (revision == "")
        if not revision:
            assert everything(address) == before
        store = open_store(address)
        assert Keys(store).owner_of(key) == "ann"
        store.close()
    assert half, "none was early enough to interrupt anything"


@pytest.mark.thorough
def test_processes_upgrade_one_database_at_once(tmp_path: Path, url: str) -> None:  # noqa: F811
    for address in (old_database(tmp_path)[0], url):
        processes = [
            subprocess.Popen([sys.executable, "-c", UPGRADE, address], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        assert [process.communicate(b"\n")[1].decode() for process in processes] == [""] * 3
        open_store(address).close()


def test_a_backup_comes_back(tmp_path: Path) -> None:
    address, key = old_database(tmp_path / "old")
    with pytest.raises(NotFound, match="tunesmith db upgrade"):
        backup(address, tmp_path / "too-early.db")
    open_store(address).close()
    rows = backup(address, tmp_path / "backups" / "monday.db")
    [file] = (tmp_path / "backups").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("monday.db", 0o600)
    with pytest.raises(Conflict, match="there already"):
        backup(address, tmp_path / "backups" / "monday.db")
    new = file_url(tmp_path / "new")
    assert restore(new, tmp_path / "backups" / "monday.db") == rows == 11
    assert everything(new) == everything(address)
    with pytest.raises(Conflict, match="not empty"):
        restore(new, tmp_path / "backups" / "monday.db")
    store = open_store(new)
    assert Keys(store).owner_of(key) == "ann"
    store.close()


def test_a_backup_of_an_earlier_release_comes_back_upgraded(tmp_path: Path) -> None:
    address, key = old_database(tmp_path / "old")
    engine = open_engine(address)
    migrations.upgrade(engine, "0001_release_0_1")
    engine.dispose()
    backup(address, tmp_path / "monday.db")
    restore(file_url(tmp_path / "new"), tmp_path / "monday.db")
    store = open_store(file_url(tmp_path / "new"))
    assert Keys(store).owner_of(key) == "ann"
    store.close()


@pytest.mark.thorough
def test_from_sqlite_to_postgresql_and_back(tmp_path: Path, url: str) -> None:  # noqa: F811
    address, _ = old_database(tmp_path / "old")
    open_store(address).close()
    backup(address, tmp_path / "monday.db")
    server = url.rpartition("/")[0]
    engine = open_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE elsewhere"))
    engine.dispose()
    there = f"{server}/elsewhere"
    restore(there, tmp_path / "monday.db")
    store = open_store(there)
    with store.begin() as session:
        number = session.execute(
            text(
                "INSERT INTO job_events (job_id, at, kind, level, from_state, to_state, text)"
                " SELECT id, '', 'note', 'info', '', '', '' FROM jobs RETURNING number"
            )
        ).scalar_one()
        assert number == 5, "it counts on from the last that was copied"
        session.rollback()
    store.close()
    backup(there, tmp_path / "tuesday.db")
    restore(file_url(tmp_path / "new"), tmp_path / "tuesday.db")
    assert everything(file_url(tmp_path / "new")) == everything(address)
