"""Models, deployments and deployed models of the managed wire."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from server.fireworks.conftest import Call

from tunesmith.services.names import embedded_model

EMBEDDED = "accounts/tunesmith/models/embedded"
MINE = "accounts/somebody/models/mine"
CONFIG = {"r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": "x"}


def adapter(rank: int = 4) -> dict[str, bytes]:
    weights = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": np.zeros((rank, 8), np.float32)}
    return {"adapter_config.json": json.dumps(CONFIG).encode(), "adapter_model.safetensors": save(weights)}


def create(call: Call, model_id: str, kind: str = "HF_PEFT_ADDON", **said: Any) -> Any:
    model = {"kind": kind, **({"peftDetails": {"baseModel": EMBEDDED}} if kind == "HF_PEFT_ADDON" else {}), **said}
    return call("POST", "/models", json={"modelId": model_id, "model": model})


def send(call: Call, ask: Any, model_id: str, files: dict[str, bytes]) -> None:
    sizes = {"filenameToSize": {name: str(len(data)) for name, data in files.items()}}
    links = call("POST", f"/models/{model_id}:getUploadEndpoint", json=sizes).json()["filenameToSignedUrls"]
    for name, data in files.items():
        assert ask("PUT", links[name].removeprefix("http://tunesmith"), content=data).status_code == 200


@pytest.fixture
def mine(call: Call, ask) -> str:
    """An uploaded adapter."""
    assert create(call, "mine", displayName="Mine").status_code == 200
    send(call, ask, "mine", adapter())
    assert call("GET", "/models/mine:validateUpload").json() == {"warnings": []}
    return MINE


def test_an_adapter_is_uploaded_and_comes_back(call: Call, ask):
    assert create(call, "mine", displayName="Mine").json()["state"] == "UPLOADING"
    send(call, ask, "mine", adapter())
    assert call("GET", "/models/mine:validateUpload").status_code == 200
    shown = call("GET", "/models/mine").json()
    assert (shown["state"], shown["kind"], shown["displayName"]) == ("READY", "HF_PEFT_ADDON", "Mine")
    assert shown["peftDetails"] == {"baseModel": EMBEDDED, "r": 4, "targetModules": ["q_proj"]}
    links = call("GET", "/models/mine:getDownloadEndpoint").json()["filenameToSignedUrls"]
    for name, data in adapter().items():
        assert ask("GET", links[name].removeprefix("http://tunesmith")).content == data
    assert call("PATCH", "/models/mine", json={"displayName": "E", "description": "d"}).json()["displayName"] == "E"
    assert call("POST", "/models/mine:prepare", json={"precision": "BF16"}).json() == {}
    assert [m["name"] for m in call("GET", "/models").json()["models"]] == [MINE]
    assert call("DELETE", "/models/mine").json() == {}
    assert call("GET", "/models/mine").status_code == 404 and call("GET", "/models").json()["totalSize"] == 0


def test_a_base_model_of_ones_own(call: Call, ask, app):
    assert create(call, "base", "HF_BASE_MODEL").status_code == 200
    folder = embedded_model()
    send(call, ask, "base", {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".md"})
    assert call("GET", "/models/base:validateUpload").status_code == 200
    shown = call("GET", "/models/base").json()
    assert shown["kind"] == "HF_BASE_MODEL" and shown["baseModelDetails"]["moe"] is False
    assert app.state.registry.find("accounts/somebody/models/base").max_context == shown["contextLength"]
    call("DELETE", "/models/base")
    assert "accounts/somebody/models/base" not in {model.name for model in app.state.registry.models()}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no files yet"),
        ({"adapter_config.json": b"{}"}, "adapter_model.safetensors: is not among the files"),
        (adapter() | {"adapter_config.json": b"[]"}, "no configuration of an adapter"),
        (adapter() | {"adapter_config.json": b"nonsense"}, "no configuration of an adapter"),
        (adapter() | {"adapter_model.safetensors": b"\x80\x04pickle"}, "cannot be read as safetensors"),
        (adapter(8), "matrices of rank [8], and adapter_config.json says 4"),
    ],
)
def test_uploads_that_cannot_serve(call: Call, ask, files: dict[str, bytes], words: str):
    create(call, "mine")
    send(call, ask, "mine", files)
    refused = call("GET", "/models/mine:validateUpload")
    assert refused.status_code in (400, 404) and words in refused.json()["message"]
    assert call("GET", "/models/mine").json()["state"] == "UPLOADING"


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "modeling.py", "x.pkl", "../a.json", "a/b.json", ".json"]
)
def test_only_safetensors_and_text(call: Call, name: str):
    create(call, "mine")
    refused = call("POST", "/models/mine:getUploadEndpoint", json={"filenameToSize": {name: "1"}})
    assert refused.status_code == 400 and "is no file of a model here" in refused.json()["message"]


def test_what_is_no_model(call: Call, mine: str):
    assert create(call, "mine").status_code == 409
    assert create(call, "a", "DRAFT_ADDON").status_code == 400
    assert create(call, "a", peftDetails={}).status_code == 400
    assert create(call, "a", peftDetails={"baseModel": "accounts/fireworks/models/none"}).status_code == 404
    assert create(call, "a", displayName="x" * 64).status_code == 400
    assert call("GET", "/models/none").status_code == 404
    assert call("DELETE", "/models/none").status_code == 404
    assert call("POST", "/models/mine:getUploadEndpoint", json={"filenameToSize": {"a.json": "1"}}).status_code == 200


def test_public_base_models(call: Call, app):
    app.state.registry.add("accounts/fireworks/models/qwen3-0p6b", embedded_model())
    assert call("GET", "//v1/accounts/tunesmith/models/embedded").json()["name"] == EMBEDDED
    (listed,) = call("GET", "//v1/accounts/fireworks/models").json()["models"]
    assert listed["name"] == "accounts/fireworks/models/qwen3-0p6b" and listed["tunable"]
    refused = call("GET", "//v1/accounts/fireworks/models/other")
    assert refused.status_code == 404 and "Known: " in refused.json()["message"]


def test_deployments_come_and_go(call: Call):
    body = {"baseModel": EMBEDDED, "minReplicaCount": 0, "maxReplicaCount": 2, "displayName": "D"}
    tried = call("POST", "/deployments", params={"deploymentId": "d", "validateOnly": "true"}, json=body)
    assert tried.status_code == 200 and call("GET", "/deployments/d").status_code == 404
    made = call("POST", "/deployments", params={"deploymentId": "d"}, json=body).json()
    assert (made["state"], made["replicaCount"], made["baseModel"]) == ("READY", 2, EMBEDDED)
    assert call("POST", "/deployments", params={"deploymentId": "d"}, json=body).status_code == 409
    assert call("PATCH", "/deployments/d", json={"displayName": "E"}).json()["displayName"] == "E"
    assert call("PATCH", "/deployments/d:scale", json={"replicaCount": 0}).json()["replicaCount"] == 0
    assert call("DELETE", "/deployments/d").json() == {}
    assert call("GET", "/deployments").json()["totalSize"] == 0
    (deleted,) = call("GET", "/deployments", params={"showDeleted": "true"}).json()["deployments"]
    assert deleted["state"] == "DELETED" and deleted["deleteTime"]
    assert call("POST", "/deployments/d:undelete", json={}).json()["state"] == "READY"
    assert call("DELETE", "/deployments/d", params={"hard": "true", "ignoreChecks": "true"}).json() == {}
    assert call("POST", "/deployments/d:undelete", json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "baseModel: is missing"),
        ({"baseModel": "accounts/fireworks/models/none"}, 404, "Known: "),
        ({"baseModel": EMBEDDED, "maxReplicaCount": -1}, 400, "outside [0, 10000]"),
        ({"baseModel": EMBEDDED, "maxReplicaCount": "many"}, 400, "is no number of replicas"),
        ({"baseModel": EMBEDDED, "maxReplicaCount": True}, 400, "is no number of replicas"),
    ],
)
def test_deployments_that_are_refused(call: Call, body: dict[str, Any], status: int, words: str):
    refused = call("POST", "/deployments", json=body)
    assert refused.status_code == status and words in refused.json()["message"]


def test_the_sentence_about_quantized_addons(call: Call):
    body = {"baseModel": EMBEDDED, "enableAddons": True, "precision": "FP8"}
    refused = call("POST", "/deployments", json=body)
    assert refused.json()["message"] == "addons cannot be enabled with quantized precisions (FP8/FP4)"


def test_a_model_is_loaded_on_a_deployment(call: Call, mine: str, app):
    call("POST", "/deployments", params={"deploymentId": "d"}, json={"baseModel": EMBEDDED, "enableAddons": True})
    body = {"model": mine, "deployment": "accounts/somebody/deployments/d"}
    made = call("POST", "/deployedModels", json=body).json()
    assert made["state"] == "DEPLOYED" and made["model"] == mine and made["default"] is False
    loaded = "/deployedModels/" + made["name"].rpartition("/")[2]
    assert call("POST", "/deployedModels", json=body).status_code == 409
    assert call("GET", "/models/mine").json()["deployedModelRefs"][0]["name"] == made["name"]
    assert call("PATCH", loaded, json={"default": True, "displayName": "L"}).json()["displayName"] == "L"
    assert app.state.deployments.serves("somebody", "d") == "mine"
    assert call("GET", "/deployedModels").json()["totalSize"] == 1
    assert call("DELETE", loaded).json() == {}
    assert call("GET", loaded).status_code == 404
    refused = call("POST", "/deployedModels", json={"model": mine})
    assert "answers without either" in refused.json()["message"]
    assert call("POST", "/deployedModels", json={**body, "model": EMBEDDED}).status_code == 404


def test_files_of_half_an_upload_are_not_kept(call: Call, ask, tmp_path: Path):
    create(call, "mine")
    link = call("POST", "/models/mine:getUploadEndpoint", json={"filenameToSize": {"a.json": "5"}}).json()
    url = link["filenameToSignedUrls"]["a.json"].removeprefix("http://tunesmith")
    assert ask("PUT", url, content=b"123").status_code == 400
    assert [f for f in (tmp_path / "data" / "uploaded_models").rglob("*") if f.is_file()] == []
