"""Names of models and adapters to folders, and what is refused in their place."""

import json

import pytest

from tunesmith.core.errors import NotFound, UserError
from tunesmith.services import names


@pytest.fixture
def folders(tmp_path):
    """A model, an adapter on it, and a run of either kind."""
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder in (model, tmp_path / "full-run" / "model"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    config = {"r": 16, "base_model_name_or_path": str(model), "target_modules": ["q_proj", "lm_head"]}
    for folder in (adapter, tmp_path / "lora-run" / "adapter"):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def test_base_models(folders, monkeypatch):
    assert names.base_model(str(folders / "model")) == folders / "model"
    assert names.base_model(str(folders / "full-run")) == folders / "full-run" / "model"
    assert (names.base_model("embedded") / "config.json").is_file()
    monkeypatch.chdir(folders)
    assert names.base_model("model") == folders / "model"  # recorded in adapters, so it must hold elsewhere too


@pytest.mark.parametrize("name", ["adapter", "lora-run"])
def test_an_adapter_is_no_base_model(folders, name):
    with pytest.raises(UserError, match=r"is not of kind base_model, but HF_PEFT_ADDON") as caught:
        names.base_model(str(folders / name))
    assert f"warm_start_from: {folders / name}" in caught.value.mend


@pytest.mark.parametrize("name", ["nowhere", "Embedded", "model/config.json"])
def test_no_such_base_model(folders, monkeypatch, name):
    monkeypatch.chdir(folders)
    with pytest.raises(NotFound, match="no such base model"):
        names.base_model(name)


def test_adapters_to_start_from(folders):
    assert names.adapter_folder(str(folders / "adapter")) == folders / "adapter"
    assert names.adapter_folder(str(folders / "lora-run")) == folders / "lora-run" / "adapter"
    for name in ("model", "full-run", "nowhere"):
        with pytest.raises(NotFound, match="no adapter here"):
            names.adapter_folder(str(folders / name))


def test_what_serves_a_run(folders):
    model, adapter = folders / "model", folders / "adapter"
    assert names.tuned(folders / "full-run") == (folders / "full-run" / "model", None)
    assert names.tuned(model) == (model, None)
    assert names.tuned(adapter) == (model, adapter)
    assert names.tuned(folders / "lora-run") == (model, folders / "lora-run" / "adapter")
    with pytest.raises(NotFound):
        names.tuned(folders / "nowhere")


def test_an_adapter_whose_base_model_is_gone(folders):
    (folders / "model" / "config.json").unlink()
    with pytest.raises(NotFound, match="no such base model"):
        names.tuned(folders / "adapter")


def test_the_shape_of_an_adapter(folders):
    assert names.adapter_shape(folders / "adapter") == (16, True)
