"""Checkpoints that a managed job keeps: listed, named, promoted while they are there."""

import shutil
from typing import Any

import torch
from server.fireworks.conftest import Call

from tunesmith.models.folder import load_model, save_model
from tunesmith.models.lora import new_adapter
from tunesmith.models.peft_format import save_adapter
from tunesmith.services.checkpoints import ADAPTER, MODEL
from tunesmith.services.names import embedded_model

SFT = "/supervisedFineTuningJobs"


def keep_checkpoint(app: Any, job_id: str, step: int) -> None:
    """What a worker leaves after a step: an adapter of all zeros and ones beside its state."""
    base = embedded_model()
    model = load_model(base, torch.device("cpu"), torch.float32)
    adapter = new_adapter(model.targets(False), 8, 0, torch.device("cpu"))
    run = app.state.jobs.folders.run(job_id).path
    save_adapter(adapter, run / "checkpoints" / f"step-{step:06d}" / ADAPTER, str(base))


def test_a_kept_checkpoint_is_promoted_and_has_a_name_of_its_own(app: Any, call: Call, uploaded: Any) -> None:
    uploaded("chats")
    body = {"dataset": "chats", "baseModel": "accounts/tunesmith/models/embedded", "outputModel": "out"}
    assert call("POST", SFT, json=body, params={"supervisedFineTuningJobId": "j"}).status_code == 200
    job = app.state.jobs.find("somebody", "sft", "j")
    keep_checkpoint(app, job.id, 3)
    [listed] = call("GET", f"{SFT}/j/checkpoints").json()["checkpoints"]
    assert listed["name"].endswith("/supervisedFineTuningJobs/j/checkpoints/step-000003")
    assert (listed["promotable"], listed["checkpointType"]) == (True, "CHECKPOINT_TYPE_TRAINING_LORA")
    assert app.state.jobs.kept.find("somebody", "out:ckpt-step-3").folder.is_dir()
    assert app.state.jobs.kept.find("else", "out:ckpt-step-3") is None
    assert app.state.jobs.models.folders("somebody", "out:ckpt-step-3").adapter.parent.name == "step-000003"

    made = call("POST", f"{SFT}/j/checkpoints/step-000003:promote", json={"outputModel": "early"})
    assert made.status_code == 200, made.text
    shutil.rmtree(app.state.jobs.folders.of(job.id))
    model = call("GET", "/models/early").json()
    assert (model["kind"], model["state"], model["peftDetails"]["r"]) == ("HF_PEFT_ADDON", "READY", 8)
    gone = call("POST", f"{SFT}/j/checkpoints/step-000003:promote", json={"outputModel": "late"})
    assert gone.status_code == 404 and "that the job still keeps" in gone.text


def test_a_kept_checkpoint_of_a_whole_model_is_a_model(app: Any, call: Call, uploaded: Any) -> None:
    uploaded("chats")
    body = {"dataset": "chats", "baseModel": "accounts/tunesmith/models/embedded", "outputModel": "out", "loraRank": 0}
    assert call("POST", SFT, json=body, params={"supervisedFineTuningJobId": "j"}).status_code == 200
    job = app.state.jobs.find("somebody", "sft", "j")
    base = embedded_model()
    run = app.state.jobs.folders.run(job.id).path
    folder = run / "checkpoints" / "step-000002" / MODEL
    save_model(load_model(base, torch.device("cpu"), torch.float32), folder, base)
    [listed] = call("GET", f"{SFT}/j/checkpoints").json()["checkpoints"]
    assert (listed["promotable"], listed["checkpointType"]) == (True, "CHECKPOINT_TYPE_TRAINING")
    assert app.state.jobs.kept.find("somebody", "out:ckpt-step-2").whole
    weights = app.state.jobs.models.folders("somebody", "out:ckpt-step-2")
    assert (weights.base, weights.adapter) == (folder, None)

    made = call("POST", f"{SFT}/j/checkpoints/step-000002:promote", json={"outputModel": "early"})
    assert made.status_code == 200, made.text
    shutil.rmtree(app.state.jobs.folders.of(job.id))
    assert call("GET", "/models/early").json()["kind"] == "HF_BASE_MODEL"
