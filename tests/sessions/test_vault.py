"""Checkpoints: names, owners, expiry, and files that go with their rows."""

import pytest

from tunesmith.core.errors import Denied, NotFound, UserError
from tunesmith.services.sessions import vault as module
from tunesmith.services.sessions.rows import ModelRow
from tunesmith.services.sessions.vault import Vault

MODEL = ModelRow(
    id="s:train:0",
    owner="ann",
    base_model="tunesmith/embedded",
    rank=8,
    train_attn=True,
    train_mlp=True,
    train_unembed=False,
)


@pytest.fixture
def vault(store, tmp_path):
    return Vault(store, tmp_path / "checkpoints")


def save(vault, name="a", text="weights", **given):
    saving = vault.saving(MODEL.id, "weights", name, **given)
    saving.folder.mkdir(parents=True)
    (saving.folder / "weights.safetensors").write_text(text)
    return vault.commit(saving, MODEL)


def test_what_was_saved_is_found(vault):
    row = save(vault, user_metadata={"step": "3"})
    assert row.path == "tinker://s:train:0/weights/a"
    found = vault.find(row.path, "ann")
    assert (vault.files(found) / "weights.safetensors").read_text() == "weights"
    assert (found.size_bytes, found.user_metadata, found.train_unembed) == (7, {"step": "3"}, False)
    assert [r.path for r in vault.page("ann")[0]] == [row.path]
    assert vault.page("bob") == ([], 0)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "x" * 201, "a\n"])
def test_names_that_cannot_be(vault, name):
    with pytest.raises(UserError, match="no name for a checkpoint"):
        vault.saving(MODEL.id, "weights", name)


def test_a_taken_name_needs_leave(vault):
    old = vault.files(save(vault))
    with pytest.raises(UserError, match="exists already"):
        vault.saving(MODEL.id, "weights", "a")
    row = save(vault, text="newer", overwrite=True)
    assert (vault.files(row) / "weights.safetensors").read_text() == "newer"
    assert not old.exists()


def test_two_writers_of_one_name_do_not_both_win(vault):
    savings = [vault.saving(MODEL.id, "weights", "a") for _ in range(2)]
    for saving in savings:
        saving.folder.mkdir(parents=True)
    vault.commit(savings[0], MODEL)
    with pytest.raises(UserError, match="exists already"):
        vault.commit(savings[1], MODEL)
    assert vault.files(vault.find(savings[0].path, "ann")) == savings[0].folder


def test_only_the_owner_until_it_is_published(vault):
    path = save(vault).path
    with pytest.raises(Denied):
        vault.find(path, "bob")
    vault.publish(path, "ann", True)
    assert vault.find(path, "bob").path == path
    for change in (lambda: vault.delete(path, "bob"), lambda: vault.set_ttl(path, "bob", None)):
        with pytest.raises(Denied):
            change()
    vault.publish(path, "ann", False)
    with pytest.raises(Denied):
        vault.find(path, "bob")


def test_deleted_with_its_files(vault):
    row = save(vault)
    vault.delete(row.path, "ann")
    assert not vault.files(row).exists()
    with pytest.raises(NotFound):
        vault.find(row.path, "ann")


def test_expiry(vault, monkeypatch):
    kept, gone = save(vault, "kept"), save(vault, "gone", ttl_seconds=3600)
    later = module.now() + 4000
    monkeypatch.setattr(module, "now", lambda: later)
    with pytest.raises(NotFound):
        vault.find(gone.path, "ann")
    assert [r.path for r in vault.page("ann")[0]] == [kept.path]
    vault.sweep()
    assert vault.files(kept).exists() and not vault.files(gone).exists()


@pytest.mark.parametrize("ttl", [0, 3599, -1, 1 << 40])
def test_a_ttl_out_of_bounds(vault, ttl):
    with pytest.raises(UserError, match="ttl_seconds"):
        vault.saving(MODEL.id, "weights", "a", ttl_seconds=ttl)


def test_folders_that_a_crash_left_are_swept(vault):
    row = save(vault)
    orphan = vault.files(row).parent / "b-00000000"
    orphan.mkdir()
    vault.sweep_orphans()
    assert vault.files(row).exists() and not orphan.exists()


@pytest.mark.parametrize("path", ["", "weights/a", "tinker://a/b", "tinker://a/weights/b/c", "tinker:///weights/b"])
def test_what_is_no_path(vault, path):
    with pytest.raises(UserError, match="is no checkpoint"):
        vault.find(path, "ann")
