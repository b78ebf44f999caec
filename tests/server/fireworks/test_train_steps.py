"""Trainer jobs whose data are datasets of scored attempts: what becomes of a step, and where the job stands by it."""

import json
from typing import Any

import pytest
from server.fireworks.conftest import Call

from tunesmith.services.jobs.moves import move
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.sessions.sessions import Sessions

MODEL = "accounts/tunesmith/models/embedded"
TRAINERS, RFT = "/rlorTrainerJobs", "/reinforcementFineTuningJobs"
ASKED = {"role": "user", "content": "2+3"}
SAMPLES = [
    {"messages": [ASKED, {"role": "assistant", "content": said}], "evals": {"score": score, "brevity": 0.5}}
    for said, score in (("5", 1.0), ("6", 0.0))
]
ATTEMPTS = (json.dumps({"samples": SAMPLES}) + "\n").encode() * 4


@pytest.fixture(autouse=True)
def attempts(app, uploaded) -> None:
    """Sessions that no client begins: a trainer job asks them for its base model."""
    app.state.sessions = Sessions(app.state.store, app.state.registry, app.state.settings.data_dir, app.state.nursery)
    uploaded("attempts", ATTEMPTS)


def create(call: Call, name: str, status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> Any:
    answer = call("POST", TRAINERS, params={"rlorTrainerJobId": name}, json=body, headers=headers or {})
    assert answer.status_code == status, answer.text
    return answer.json()


def kept_alive(call: Call, name: str = "t", **body: Any) -> Any:
    return create(call, name, keepAlive=True, **{"trainingConfig": {"baseModel": MODEL, "loraRank": 4}, **body})


def execute(call: Call, output: str, status: int = 200, headers: dict[str, str] | None = None, name: str = "t") -> Any:
    body = {"dataset": "accounts/somebody/datasets/attempts", "outputModel": f"accounts/somebody/models/{output}"}
    answer = call("POST", f"{TRAINERS}/{name}:executeTrainStep", json=body, headers=headers or {})
    assert answer.status_code == status, answer.text
    return answer.json()


def state(call: Call, name: str = "t") -> str:
    return str(call("GET", f"{TRAINERS}/{name}").json()["state"])


def end(app: Any, tmp_path: Any, name: str, *states: str) -> None:
    """The job of a step goes through these states, and leaves its model where it succeeded."""
    with app.state.store.begin() as db:
        row = db.get_one(JobRow, app.state.jobs.find("somebody", "rft", name).id)
        for to in states:
            move(db, row, to, "so it was")  # type: ignore[arg-type]
        output, job_id = row.output_model, row.id
    if states[-1] == "succeeded":
        (tmp_path / output).mkdir()
        (tmp_path / output / "adapter_config.json").write_text("{}")
        app.state.tuned_models.add("somebody", output, "tunesmith/embedded", tmp_path / output, job_id)


def test_a_trainer_job_with_a_dataset_is_one_job(call: Call, app, tmp_path):
    training = {"baseModel": MODEL, "outputModel": "accounts/somebody/models/v1", "epochs": 2, "loraRank": 16}
    made = create(call, "one", dataset="attempts", trainingConfig=training, lossConfig={"method": "DAPO"})
    assert made["name"] == "accounts/somebody/rlorTrainerJobs/one"
    assert made["state"] in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING")
    assert made["trainingConfig"]["outputModel"] == "accounts/somebody/models/v1"
    assert made["lossConfig"] == {"method": "DAPO"} and made["dataset"] == "attempts"
    job = app.state.jobs.find("somebody", "rft", "one")
    wanted = {
        "evaluator": "recorded",
        "epochs": 2,
        "lora_rank": 16,
        "rl_loss_method": "dapo",
        "eval_auto_carveout": False,
    }
    assert job.settings == wanted | {"base_model": "tunesmith/embedded"}
    shown = call("GET", f"{RFT}/one").json()
    assert "evaluator" not in shown and shown["trainingConfig"]["loraRank"] == 16
    end(app, tmp_path, "one", "running", "succeeded")
    assert state(call, "one") == "JOB_STATE_COMPLETED"
    refused = call("POST", f"{TRAINERS}/one:cancel", json={})
    assert (refused.status_code, refused.json()["message"]) == (400, "cannot cancel job in state: JOB_STATE_COMPLETED")
    following = {"warmStartFrom": "accounts/somebody/models/v1", "outputModel": "v2", "loraRank": 16}
    create(call, "two", dataset="attempts", trainingConfig=following)
    assert app.state.jobs.find("somebody", "rft", "two").settings["warm_start_from"] == "v1"


def test_each_step_goes_on_from_the_newest_model(call: Call, app, tmp_path):
    assert kept_alive(call, rewardWeights=["score=1.0", "brevity=0.2"])["state"] == "JOB_STATE_IDLE"
    assert execute(call, "v1") == {}
    assert state(call) in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING")
    settings = app.state.jobs.find("somebody", "rft", "t-1").settings
    assert settings["evaluator"] == ["recorded:score=1.0", "recorded:brevity=0.2"]
    assert "warm_start_from" not in settings
    assert "is still at the step that makes v1" in execute(call, "v2", 400)["message"]
    end(app, tmp_path, "t-1", "running", "succeeded")
    assert state(call) == "JOB_STATE_IDLE"
    execute(call, "v2")
    end(app, tmp_path, "t-2", "running", "failed")
    failed = call("GET", f"{TRAINERS}/t").json()
    assert (failed["state"], failed["status"]["message"]) == ("JOB_STATE_FAILED", "so it was")
    execute(call, "v3")
    assert app.state.jobs.find("somebody", "rft", "t-3").settings["warm_start_from"] == "v1", "what failed made none"
    end(app, tmp_path, "t-3", "running", "succeeded")
    assert call("DELETE", f"{RFT}/t-3").status_code == 200
    execute(call, "v4")
    assert app.state.jobs.find("somebody", "rft", "t-4").settings["warm_start_from"] == "v3", (
        "its model outlives the job"
    )


def test_a_step_that_is_asked_for_again_is_the_same(call: Call, app):
    again = {"x-stainless-retry-count": "1"}
    kept_alive(call)
    execute(call, "v1")
    execute(call, "v1", headers=again)
    assert [job.name for job in app.state.jobs.page("somebody", kind="rft")[0]] == ["t-1"]
    one = {"dataset": "attempts", "trainingConfig": {"baseModel": MODEL}}
    made = create(call, "one", **one)
    assert create(call, "one", headers=again, **one)["createTime"] == made["createTime"]
    assert "is the id of a trainer job already" in create(call, "one", 409, **one)["message"]


def test_a_trainer_job_is_cancelled_resumed_and_deleted_with_its_step(call: Call, app):
    kept_alive(call, dataset="attempts", trainingConfig={"baseModel": MODEL, "outputModel": "v1"})
    assert call("POST", f"{TRAINERS}/t:cancel", json={}).status_code == 200
    assert (state(call), app.state.jobs.find("somebody", "rft", "t-1").state) == ("JOB_STATE_CANCELLED", "cancelled")
    assert "is cancelled. Resume it" in execute(call, "v2", 400)["message"]
    resumed = call("POST", f"{TRAINERS}/t:resume", json={}).json()
    assert resumed["state"] in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING")
    assert call("DELETE", f"{TRAINERS}/t").status_code == 200
    assert state(call) == "JOB_STATE_DELETED"
    assert call("GET", f"{RFT}/t-1").status_code == 404


def test_lists_have_them(call: Call):
    kept_alive(call)
    create(call, "one", dataset="attempts", trainingConfig={"baseModel": MODEL})
    listed = call("GET", TRAINERS).json()["rlorTrainerJobs"]
    assert {job["name"].rpartition("/")[2]: job["state"] for job in listed}["t"] == "JOB_STATE_IDLE"
    assert len(listed) == 2


CONFIG = {"baseModel": MODEL, "loraRank": 4}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"dataset": "attempts", "trainingConfig": {}}, "base_model and warm_start_from: are both missing"),
        ({"dataset": "nowhere", "trainingConfig": CONFIG}, "nowhere"),
        (
            {"dataset": "attempts", "serviceMode": True, "trainingConfig": CONFIG},
            "dataset: is not read in service mode",
        ),
        ({"keepAlive": True, "trainingConfig": {"baseModel": MODEL, "loraRank": 0}}, "training_config.lora_rank: is 0"),
        ({"keepAlive": True, "hotLoadDeploymentId": "d", "trainingConfig": CONFIG}, "hot_load_deployment_id: must be"),
        ({"keepAlive": True, "evaluationDataset": "d", "trainingConfig": CONFIG}, "evaluation_dataset: must be unset"),
        ({"keepAlive": True, "rewardWeights": ["score"], "trainingConfig": CONFIG}, "reward_weights[0]: cannot read"),
        ({"keepAlive": True, "rewardWeights": ["=1"], "trainingConfig": CONFIG}, "reward_weights[0]: cannot read"),
        (
            {"dataset": "attempts", "rewardWeights": ["a=nan"], "trainingConfig": CONFIG},
            "reward_weights[0]: cannot read",
        ),
        ({"keepAlive": "often", "trainingConfig": CONFIG}, "keepAlive"),
        ({"dataset": "attempts", "lossConfig": {"method": "PPO"}, "trainingConfig": CONFIG}, "loss_config.method"),
        ({"dataset": "attempts", "trainingConfig": CONFIG | {"learningRate": 1}}, "outside valid range"),
    ],
)
def test_what_is_refused_leaves_no_trainer_job(call: Call, body: dict[str, Any], said: str):
    answer = call("POST", TRAINERS, params={"rlorTrainerJobId": "bad"}, json=body)
    assert answer.status_code in (400, 404), answer.text
    assert said in answer.json()["message"]
    assert call("GET", f"{TRAINERS}/bad").status_code == 404
    assert call("GET", RFT).json()["reinforcementFineTuningJobs"] == []


def test_only_what_is_kept_alive_takes_steps(call: Call):
    create(call, "driven", serviceMode=True, trainingConfig=CONFIG)
    assert "takes no steps on datasets" in execute(call, "v1", 400, name="driven")["message"]
    assert execute(call, "v1", 404, name="nobody")["message"]


def test_a_step_needs_a_dataset_and_rows_need_attempts(call: Call, uploaded):
    kept_alive(call)
    path = f"{TRAINERS}/t:executeTrainStep"
    refused = call("POST", path, json={"outputModel": "v1"})
    assert (refused.status_code, "dataset: is missing" in refused.json()["message"]) == (400, True)
    uploaded("chats")
    call("POST", path, json={"dataset": "chats", "outputModel": "v1"})
    assert state(call) != "JOB_STATE_IDLE"
