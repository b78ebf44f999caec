"""What the server keeps in its database, and that several processes may write it at once."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.keys import KNOWN_S, Keys
from tunesmith.services.names import embedded_model
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.store import Store, file_url, open_store

WRITES = 40
WRITER = """
import sys
import threading
from tunesmith.services.keys import Keys
from tunesmith.services.store import open_store
keys = Keys(open_store(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    keys.create(sys.argv[3])
"""


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    Keys(store).create("kept")
    with pytest.raises(RuntimeError), store.begin() as session:
        session.execute(text("DELETE FROM keys"))
        raise RuntimeError
    assert [info.owner for info in Keys(store).list()] == ["kept"]


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    store = open_store(file_url(tmp_path))
    with store.begin() as session:
        said = {
            name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    store.close()
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    url = file_url(tmp_path)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(WRITES), owner], stderr=subprocess.PIPE)
        for owner in ("a", "b")
    ]
    assert [writer.communicate()[1].decode() for writer in writers] == ["", ""]
    store = open_store(url)
    owners = [info.owner for info in Keys(store).list()]
    store.close()
    assert (owners.count("a"), owners.count("b")) == (WRITES, WRITES)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is no URL of a database"),
        ("mysql://host/name", "unknown kind of database 'mysql'"),
        ("sqlite:///{tmp}", "cannot be used: unable to open database file"),
        ("sqlite:///{tmp}/text.db", "cannot be used: file is not a database"),
    ],
)
def test_databases_that_cannot_be_opened(tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 20)
    with pytest.raises(UserError, match=re.escape(says)):
        open_store(url.format(tmp=tmp_path))


def test_a_key_is_what_clients_accept_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    store = open_store(file_url(tmp_path / "data"))
    keys = Keys(store)
    key = keys.create("somebody", "laptop")
    assert re.fullmatch(r"tml-[A-Za-z0-9_-]{43}", key)
    info = keys.find(key)
    assert info is not None
    assert (info.owner, info.name, info.prefix, info.last_used_at, info.revoked_at) == (
        "somebody",
        "laptop",
        key[:8],
        None,
        None,
    )
    store.close()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert key[:8].encode() in kept
    assert key[8:].encode() not in kept


def test_keys_are_told_apart_and_refused_once_revoked(store: Store) -> None:
    keys = Keys(store)
    mine, yours = keys.create("me"), keys.create("you")
    assert [keys.owner_of(k) for k in (mine, yours, mine + "x", mine[:-1], "", "\ud800")] == ["me", "you"] + [None] * 4
    revoked = keys.revoke(keys.list()[0].id)
    assert [keys.owner_of(mine), keys.owner_of(yours)] == [None, "you"]
    assert keys.revoke(revoked.id) == revoked
    assert [info.last_used_at is None for info in keys.list()] == [False, False]


def test_what_another_process_revokes_is_refused_within_a_second(store: Store) -> None:
    keys, elsewhere = Keys(store), Keys(store)
    mine = keys.create("me")
    assert keys.owner_of(mine) == "me"
    elsewhere.revoke(elsewhere.list()[0].id)
    revoked = time.monotonic()
    while keys.owner_of(mine) is not None:
        assert time.monotonic() < revoked + KNOWN_S + 0.5
        time.sleep(0.02)


def test_a_good_key_is_not_looked_up_for_each_request(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, looks, rows = Keys(store), [], store.rows
    mine = keys.create("me")
    monkeypatch.setattr(store, "rows", lambda *asked, **values: looks.append(values) or rows(*asked, **values))
    assert [keys.owner_of(key) for key in (mine, mine, mine)] == ["me"] * 3 and len(looks) == 1
    assert [keys.owner_of(key) for key in ("tml-x", "tml-x")] == [None] * 2 and len(looks) == 3


def test_the_first_key_is_made_once(store: Store) -> None:
    keys = Keys(store)
    first = keys.create_first()
    assert first is not None and keys.owner_of(first) == "default"
    keys.revoke(keys.list()[0].id)
    assert keys.create_first() is None


@pytest.mark.parametrize(
    ("owner", "name"), [("", ""), ("a b", ""), ("a" * 65, ""), ("a", "x" * 201), ("a", "two\nlines")]
)
def test_owners_and_names_that_could_not_be_shown(store: Store, owner: str, name: str) -> None:
    with pytest.raises(UserError):
        Keys(store).create(owner, name)
    assert Keys(store).list() == []


def test_a_key_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound, match="no key has the id 'key-0'"):
        Keys(store).revoke("key-0")


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(embedded_model(), tmp_path / "model"))


def test_the_embedded_model_is_always_there(registry: Registry) -> None:
    [model] = registry.models()
    assert model == registry.find(EMBEDDED)
    config = json.loads((embedded_model() / "config.json").read_text())
    assert (model.folder, model.max_context) == (embedded_model(), config["max_position_embeddings"])
    with pytest.raises(Conflict):
        registry.remove(EMBEDDED)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "accounts/fireworks/models/qwen3-8b", "a/b"])
def test_a_name_stands_for_a_folder_until_it_is_removed(registry: Registry, folder: Path, name: str) -> None:
    added = registry.add(name, folder)
    assert registry.add(name, folder) == added == registry.find(name)
    assert [model.name for model in registry.models()] == [EMBEDDED, name]
    with pytest.raises(Conflict, match=re.escape(f"is the name of {folder}")):
        registry.add(name, embedded_model())
    registry.remove(name)
    with pytest.raises(NotFound, match=f"unknown '{name}'.* Known: {EMBEDDED}"):
        registry.find(name)
    with pytest.raises(NotFound):
        registry.remove(name)


@pytest.mark.parametrize(
    "name",
    ["", "qwen", "a/b/c/d/e", "/a/b", "a//b", "a/../b", "a/..", "a/b.", "a/-b", "a/b--c", "a/b:c", "a/b c", "a/b.git"],
)
def test_names_that_clients_could_not_ask_for(registry: Registry, folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="name: cannot be"):
        registry.add(name, folder)
    with pytest.raises(NotFound):
        registry.find(name)


@pytest.mark.parametrize(
    ("removed", "says"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no model.safetensors"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_folder_that_is_not_complete(registry: Registry, folder: Path, removed: str, says: str) -> None:
    (folder / removed).unlink()
    with pytest.raises(NotFound, match=says):
        registry.add("a/b", folder)
    assert len(registry.models()) == 1


@pytest.mark.parametrize(
    ("index", "says"), [('{"weight_map": {"w": "part-2.safetensors"}}', "no part-2.safetensors"), ("[]", "no index")]
)
def test_a_shard_that_is_missing(registry: Registry, folder: Path, index: str, says: str) -> None:
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=says):
        registry.add("a/b", folder)


@pytest.mark.thorough
def test_every_end_of_a_transaction_lets_the_next_begin(tmp_path: Path) -> None:
    store, other = open_store(file_url(tmp_path), busy_ms=2_000), sqlite3.connect(tmp_path / "tunesmith.db")
    keys = Keys(store)
    store.started()
    with pytest.raises(ZeroDivisionError), store.begin() as session:
        raise session.scalar(text("SELECT 1")) and ZeroDivisionError
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError), store.begin_at_once() as session:
        session.execute(text("SELECT 1"))
    with pytest.raises(OperationalError):
        keys.create("me")  # another process writes
    other.rollback()
    began = time.monotonic()
    for _ in range(3):
        keys.create("me")
    assert time.monotonic() - began < 1.0, "nobody waited for a turn that nobody had"


def test_writers_of_one_process_take_turns(tmp_path: Path) -> None:
    """By pauses that double, as SQLite waits, the last of these would wait for a second; PostgreSQL has a queue."""
    store = open_store(file_url(tmp_path))
    keys, took = Keys(store), []
    store.started()

    def write() -> None:
        for _ in range(10):
            began = time.perf_counter()
            keys.create("me")
            took.append(time.perf_counter() - began)

    threads = [threading.Thread(target=write) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys.list()) == len(took) == 120
    store.close()
    assert max(took) < 0.5 * sum(took) / 12, "the slowest write took less than half of a writer's ten"
