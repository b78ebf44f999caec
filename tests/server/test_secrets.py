"""Secrets: kept, replaced, found again with the same key alone, and nowhere in the clear."""

import stat
from pathlib import Path

import pytest

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.secrets import KEY_FILE, KEY_VARIABLE, Secrets
from tunesmith.services.store import Store, file_url, open_store

VALUE = "correct horse battery staple"


@pytest.fixture
def secrets(store: Store, tmp_path: Path) -> Secrets:
    return Secrets(store, tmp_path / "data")


def test_what_is_put_can_be_got(secrets: Secrets):
    secrets.put("somebody", "MY_KEY", "old")
    secrets.put("somebody", "MY_KEY", VALUE)
    secrets.put("somebody", "OTHER", "ü\n")
    assert secrets.get("somebody", "MY_KEY") == VALUE
    assert secrets.names("somebody") == ["MY_KEY", "OTHER"]
    assert secrets.environment("somebody") == {"MY_KEY": VALUE, "OTHER": "ü\n"}
    assert secrets.find("somebody", "my-key").key_name == "MY_KEY"
    secrets.delete("somebody", "MY_KEY")
    assert secrets.names("somebody") == ["OTHER"]


def test_an_owner_has_only_its_own(secrets: Secrets):
    secrets.put("somebody", "MY_KEY", VALUE)
    assert secrets.environment("another") == {}
    for ask in (lambda: secrets.get("another", "MY_KEY"), lambda: secrets.delete("another", "MY_KEY")):
        with pytest.raises(NotFound, match="no such secret"):
            ask()


def test_nothing_is_in_the_clear_on_disk(secrets: Secrets, tmp_path: Path):
    secrets.put("somebody", "MY_KEY", VALUE)
    files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert files and all(VALUE.encode() not in file.read_bytes() for file in files)
    assert stat.S_IMODE((tmp_path / "data" / KEY_FILE).stat().st_mode) == 0o600


def test_another_server_with_the_same_key_reads_them(secrets: Secrets, store: Store, tmp_path: Path, monkeypatch):
    secrets.put("somebody", "MY_KEY", VALUE)
    assert Secrets(store, tmp_path / "data").get("somebody", "MY_KEY") == VALUE
    key = (tmp_path / "data" / KEY_FILE).read_text()
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert Secrets(store, tmp_path / "elsewhere").get("somebody", "MY_KEY") == VALUE


def test_another_key_is_said_and_not_guessed(secrets: Secrets, store: Store, tmp_path: Path, monkeypatch):
    secrets.put("somebody", "MY_KEY", VALUE)
    with pytest.raises(UserError, match="encrypted to another key"):
        Secrets(store, tmp_path / "elsewhere").get("somebody", "MY_KEY")
    monkeypatch.setenv(KEY_VARIABLE, "nonsense")
    with pytest.raises(UserError, match=f"{KEY_VARIABLE}: holds no age key"):
        secrets.get("somebody", "MY_KEY")


@pytest.mark.parametrize("name", ["", "1KEY", "A-B", "A B", "A=B", "A\x00", "ü", "K" * 129])
def test_names_that_no_environment_has_are_refused(secrets: Secrets, name: str):
    with pytest.raises(UserError, match="cannot be"):
        secrets.put("somebody", name, VALUE)


@pytest.mark.parametrize("value", ["", "a\x00b", "x" * (65 << 10), "\ud800"])
def test_refusals_of_values_do_not_show_them(secrets: Secrets, value: str):
    with pytest.raises(UserError) as refused:
        secrets.put("somebody", "MY_KEY", value)
    assert not value or value not in str(refused.value)


def test_an_id_stands_for_one_name(secrets: Secrets):
    secrets.put("somebody", "MY_KEY", VALUE)
    with pytest.raises(Conflict, match="my-key"):
        secrets.put("somebody", "my_key", "other")
    assert secrets.put("somebody", "my_key", "other", secret_id="mine").id == "mine"


def test_they_outlive_the_store(tmp_path: Path):
    for _ in range(2):
        store = open_store(file_url(tmp_path / "data"))
        secrets = Secrets(store, tmp_path / "data")
        if not secrets.names("somebody"):
            secrets.put("somebody", "MY_KEY", VALUE)
        assert secrets.get("somebody", "MY_KEY") == VALUE
        store.close()
