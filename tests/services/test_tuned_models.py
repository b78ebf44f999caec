"""Names of tuned models: whose they are, what they stand for, and what cannot be one."""

import json
from pathlib import Path

import pytest

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.names import embedded_model
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.store import open_store
from tunesmith.services.tuned_models import TunedModels


@pytest.fixture
def models(tmp_path, database):
    store = open_store(database(tmp_path))
    yield TunedModels(store, Registry(store), tmp_path / "tuned")
    store.close()


@pytest.fixture
def adapter(tmp_path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}), "utf-8")
    return folder


def test_a_name_belongs_to_its_owner(models, adapter):
    mine = models.add("ann", "ft:poet:1", EMBEDDED, adapter, "job-1")
    assert (mine.name, mine.base_model, mine.folder, mine.whole, mine.job_id) == (
        "ft:poet:1",
        EMBEDDED,
        adapter.resolve(),
        False,
        "job-1",
    )
    assert models.find("ann", "ft:poet:1") == mine == models.get("ann", "ft:poet:1")
    assert models.get("bob", "ft:poet:1") is None
    assert models.page("bob") == ([], 0)
    with pytest.raises(NotFound, match="no tuned model 'ft:poet:1'"):
        models.remove("bob", "ft:poet:1")


def test_the_same_again_is_the_same_and_another_is_refused(models, adapter):
    first = models.add("ann", "poet", EMBEDDED, adapter)
    assert models.add("ann", "poet", EMBEDDED, adapter) == first
    with pytest.raises(Conflict, match="is the name of"):
        models.add("ann", "poet", EMBEDDED, embedded_model())
    assert models.add("bob", "poet", EMBEDDED, adapter).key != first.key


def test_a_name_that_is_given_again_stands_for_other_weights(models, adapter):
    first = models.add("ann", "poet", EMBEDDED, adapter)
    models.remove("ann", "poet")
    assert models.get("ann", "poet") is None
    assert adapter.is_dir()
    again = models.add("ann", "poet", EMBEDDED, embedded_model())
    assert again.whole and again.key != first.key


def test_pages(models, adapter):
    for i in range(5):
        models.add("ann", f"poet-{i}", EMBEDDED, adapter)
    whole, total = models.page("ann")
    assert total == 5 and sorted(m.name for m in whole) == [f"poet-{i}" for i in range(5)]
    parts = [models.page("ann", 2, offset)[0] for offset in (0, 2, 4)]
    assert [m for part in parts for m in part] == list(whole)


@pytest.mark.parametrize("name", ["", " poet", "po et", "tinker://x/y", "-poet", "a" * 201, "poet\n", "p\0"])
def test_names_that_cannot_be(models, adapter, name):
    with pytest.raises(UserError, match="cannot be"):
        models.add("ann", name, EMBEDDED, adapter)
    assert models.get("ann", name) is None


def test_what_is_no_model(models, adapter, tmp_path):
    with pytest.raises(Conflict, match="is the name of a base model"):
        models.add("ann", EMBEDDED, EMBEDDED, adapter)
    with pytest.raises(NotFound, match="unknown 'nobody/model'"):
        models.add("ann", "poet", "nobody/model", adapter)
    with pytest.raises(UserError, match="holds neither an adapter nor a model"):
        models.add("ann", "poet", EMBEDDED, tmp_path)
