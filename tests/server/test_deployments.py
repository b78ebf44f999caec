"""Deployments: what a name serves, from its creation to its end."""

import shutil
from pathlib import Path

import pytest

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.deployments import Deployments
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.store import Store
from tunesmith.services.tuned_models import TunedModels


@pytest.fixture
def deployments(store: Store, tmp_path: Path) -> Deployments:
    """With the tuned models ``one`` and ``two``, and ``whole``, which is none to be loaded beside others."""
    registry = Registry(store)
    tuned = TunedModels(store, registry, tmp_path / "tuned")
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
        tuned.add("somebody", name, EMBEDDED, folder)
    whole = shutil.copytree(registry.find(EMBEDDED).folder, tmp_path / "whole")
    tuned.add("somebody", "whole", EMBEDDED, whole)
    return Deployments(store, registry, tuned)


def test_a_name_serves_its_model(deployments: Deployments):
    deployments.create("somebody", "base", EMBEDDED)
    deployments.create("somebody", "tuned", "one", asked={"x": 1})
    assert deployments.serves("somebody", "base") == EMBEDDED
    assert deployments.serves("somebody", "tuned") == "one"
    assert deployments.get("somebody", "tuned").base_model == EMBEDDED
    rows, total = deployments.page("somebody", limit=1)
    assert (len(rows), total) == (1, 2)


def test_what_cannot_be_deployed(deployments: Deployments):
    deployments.create("somebody", "base", EMBEDDED)
    with pytest.raises(Conflict, match="is the id of a deployment already"):
        deployments.create("somebody", "base", EMBEDDED)
    with pytest.raises(NotFound, match="unknown 'one'"):
        deployments.create("another", "base", "one")
    for bad in ("", "../x", "A", "-x"):
        with pytest.raises(UserError, match="cannot be"):
            deployments.create("somebody", bad, EMBEDDED)
    with pytest.raises(UserError, match=r"outside \[0, 10000\]"):
        deployments.create("somebody", "many", EMBEDDED, replicas=10_001)
    with pytest.raises(NotFound):
        deployments.get("another", "base")


def test_scaled_to_zero_answers_nothing(deployments: Deployments):
    deployments.create("somebody", "base", EMBEDDED)
    deployments.scale("somebody", "base", 0)
    with pytest.raises(UserError, match="scaled to zero"):
        deployments.serves("somebody", "base")
    deployments.scale("somebody", "base", 2)
    assert deployments.serves("somebody", "base") == EMBEDDED


def test_deleted_until_undeleted_or_for_good(deployments: Deployments):
    deployments.create("somebody", "base", EMBEDDED)
    deployments.delete("somebody", "base")
    with pytest.raises(NotFound):
        deployments.serves("somebody", "base")
    assert deployments.page("somebody") == ([], 0)
    assert deployments.page("somebody", deleted=True)[1] == 1
    with pytest.raises(Conflict, match="undelete"):
        deployments.create("somebody", "base", EMBEDDED)
    deployments.undelete("somebody", "base")
    assert deployments.serves("somebody", "base") == EMBEDDED
    deployments.delete("somebody", "base", for_good=True)
    with pytest.raises(NotFound):
        deployments.undelete("somebody", "base")


def test_models_loaded_beside_each_other(deployments: Deployments):
    deployments.create("somebody", "base", EMBEDDED)
    deployments.load("somebody", "first", "one", "base")
    deployments.load("somebody", "second", "two", "base", default=True)
    assert deployments.serves("somebody", "base") == "two"
    assert deployments.serves("somebody", "base", "one") == "one"
    assert deployments.serves("somebody", "base", EMBEDDED) == EMBEDDED
    with pytest.raises(Conflict, match="is loaded on base already"):
        deployments.load("somebody", "third", "one", "base")
    with pytest.raises(UserError, match="whole model"):
        deployments.load("somebody", "third", "whole", "base")
    deployments.change_loaded("somebody", "first", True, {})
    assert deployments.serves("somebody", "base") == "one"
    deployments.unload("somebody", "first")
    assert deployments.serves("somebody", "base") == EMBEDDED
    with pytest.raises(NotFound, match="is not deployed on base"):
        deployments.serves("somebody", "base", "one")
    deployments.load("somebody", "first", "one", "base", replace=True)
    assert [row.model for row in deployments.all_loaded("somebody")] == ["one"]
    deployments.delete("somebody", "base")
    assert deployments.all_loaded("somebody") == []
