"""Managed jobs over the wire: what becomes of every field, and how refusals are said."""

import json
from typing import Any

import pytest
from server.fireworks.conftest import Call

from tunesmith.services.jobs.moves import move
from tunesmith.services.jobs.rows import JobRow

MODEL = "accounts/tunesmith/models/embedded"
RFT, SFT, DPO = "/reinforcementFineTuningJobs", "/supervisedFineTuningJobs", "/dpoJobs"
EXACT = "accounts/tunesmith/evaluators/exact-match"
PROMPTS = b'{"messages":[{"role":"user","content":"2+3"}],"ground_truth":"5"}\n' * 4
PAIRS = (
    b'{"input":{"messages":[{"role":"user","content":"2+3"}]},'
    b'"preferred_output":[{"role":"assistant","content":"5"}],'
    b'"non_preferred_output":[{"role":"assistant","content":"6"}]}\n'
) * 4


@pytest.fixture
def rows(uploaded) -> None:
    uploaded("chats")
    uploaded("prompts", PROMPTS)
    uploaded("pairs", PAIRS)


def rft(**changes: Any) -> dict[str, Any]:
    body = {"dataset": "accounts/somebody/datasets/prompts", "evaluator": EXACT, "trainingConfig": {"baseModel": MODEL}}
    return body | changes


def sft(**changes: Any) -> dict[str, Any]:
    return {"dataset": "accounts/somebody/datasets/chats", "baseModel": MODEL} | changes


def dpo(**changes: Any) -> dict[str, Any]:
    return {"dataset": "pairs", "trainingConfig": {"baseModel": MODEL}} | changes


def create(call: Call, collection: str, body: dict[str, Any], **request: Any) -> Any:
    answer = call("POST", collection, json=body, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def settings(app: Any, kind: str, name: str) -> dict[str, Any]:
    return dict(app.state.jobs.find("somebody", kind, name).settings)


EVERY_FIELD = rft(
    displayName="J",
    trainingConfig={
        "baseModel": MODEL,
        "outputModel": "accounts/somebody/models/out",
        "epochs": 2,
        "learningRate": 2e-4,
        "learningRateWarmupSteps": 3,
        "loraRank": 16,
        "batchSize": 4096,
        "batchSizeSamples": 0,
        "gradientAccumulationSteps": 2,
        "maxContextLength": 512,
        "optimizerWeightDecay": 0.0,
        "samplerCheckpointSaveIntervalSteps": 0,
        "jinjaTemplate": "",
        "region": "US_IOWA_1",
    },
    lossConfig={"method": "gspo-token", "klBeta": 0},
    inferenceParameters={
        "maxOutputTokens": 64,
        "responseCandidatesCount": 4,
        "temperature": 1.0,
        "topP": 0.9,
        "topK": 0,
        "extraBody": '{"top_k": 5, "max_tokens": 32}',
    },
    chunkSize=-1,
    evalAutoCarveout=True,
    maxConcurrentRollouts=7,
    maxConcurrentEvaluations=3,
    maxInferenceReplicaCount=2,
    nodeCount=1,
    reservationTarget="x",
)


@pytest.mark.usefixtures("rows")
def test_an_rft_job_with_every_field(call: Call, app):
    made = create(call, RFT, EVERY_FIELD, params={"reinforcementFineTuningJobId": "my-job"})
    assert made["name"] == "accounts/somebody/reinforcementFineTuningJobs/my-job"
    assert made["state"] in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING")
    assert settings(app, "rft", "my-job") == {
        "base_model": "tunesmith/embedded",
        "evaluator": "exact_match",
        "epochs": 2,
        "learning_rate": 2e-4,
        "learning_rate_warmup_steps": 3,
        "lora_rank": 16,
        "batch_size": 4096,
        "gradient_accumulation_steps": 2,
        "max_context_length": 512,
        "optimizer_weight_decay": 0.0,
        "rl_loss_method": "gspo-token",
        "max_tokens": 64,
        "response_candidates_count": 4,
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 0,
        "chunk_size": -1,
        "eval_auto_carveout": True,
        "max_concurrent_rollouts": 7,
    }
    assert made["trainingConfig"]["outputModel"] == "accounts/somebody/models/out"
    assert made["trainingConfig"]["baseModel"] == MODEL
    assert made["lossConfig"] == {"method": "GSPO_TOKEN"}
    assert (made["chunkSize"], made["reservationTarget"], made["evaluator"]) == (-1, "x", EXACT)


@pytest.mark.usefixtures("rows")
def test_defaults_are_shown(call: Call):
    made = create(call, RFT, rft(evalAutoCarveout=False, wandbConfig={"enabled": False}))
    config, sampling = made["trainingConfig"], made["inferenceParameters"]
    assert (config["learningRate"], config["epochs"], config["loraRank"], config["batchSize"]) == (1e-4, 1, 8, 32768)
    assert (sampling["temperature"], sampling["topK"], sampling["topP"]) == (0.7, 40, 1.0)
    assert (sampling["maxOutputTokens"], sampling["responseCandidatesCount"]) == (2048, 8)
    assert made["lossConfig"] == {"method": "GRPO", "klBeta": 0.001} and made["chunkSize"] == 200
    assert made["jobProgress"]["percent"] == 0 and made["displayName"] == ""
    assert config["outputModel"].rpartition("/")[2] == made["name"].rpartition("/")[2]
    assert "null" not in json.dumps(made)


@pytest.mark.usefixtures("rows")
def test_sft_flat_and_wrapped_are_the_same(call: Call, app):
    fields = sft(
        epochs=2,
        loraRank=4,
        batchSizeSamples=2,
        batchSize=0,
        gradientAccumulationSteps=0,
        jinjaTemplate="",
        earlyStop=False,
        mtpEnabled=False,
        isTurbo=True,
        nodes=2,
        usePurpose="pilot",
        useReservation=True,
        evalAutoCarveout=False,
        lrScheduler={"cosine": {"minLrRatio": 0.1, "decayRatio": 0}},
    )
    create(call, SFT, fields, params={"supervisedFineTuningJobId": "flat"})
    wrapped = {"supervisedFineTuningJob": fields, "supervisedFineTuningJobId": "wrapped"}
    made = create(call, SFT, wrapped)
    assert made["name"].endswith("/wrapped") and made["batchSizeSamples"] == 2 and "trainingConfig" not in made
    assert (
        settings(app, "sft", "flat")
        == settings(app, "sft", "wrapped")
        == {
            "base_model": "tunesmith/embedded",
            "epochs": 2,
            "lora_rank": 4,
            "batch_size_samples": 2,
            "learning_rate_schedule": "cosine",
            "min_lr_ratio": 0.1,
            "eval_auto_carveout": False,
        }
    )


@pytest.mark.usefixtures("rows")
def test_dpo_and_orpo(call: Call, app):
    create(call, DPO, dpo(lossConfig={"dpo": {"beta": 0.2}}), params={"dpoJobId": "one"})
    made = create(call, DPO, dpo(lossConfig={"method": "ORPO"}), params={"dpoJobId": "two"})
    assert settings(app, "dpo", "one")["dpo_beta"] == 0.2
    assert settings(app, "dpo", "two")["preference_loss"] == "orpo"
    assert made["lossConfig"]["method"] == "ORPO"


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    (RFT, rft(trainingConfig={}), 400, "both missing. Give exactly one"),
    (RFT, rft(trainingConfig={"baseModel": MODEL, "warmStartFrom": "x"}), 400, "both set"),
    (RFT, {"dataset": "prompts", "evaluator": EXACT}, 400, "both missing"),
    (RFT, rft(dataset=""), 400, "dataset: is missing"),
    (RFT, rft(evaluator=""), 400, "evaluator: is missing"),
    (
        RFT,
        rft(evaluator="accounts/somebody/evaluators/my-evaluator"),
        404,
        "Evaluator 'my-evaluator' not found in account",
    ),
    (RFT, rft(evaluator="accounts/tunesmith/evaluators/nothing"), 404, "Built in: "),
    (RFT, rft(dataset="none"), 404, "no such dataset"),
    (RFT, rft(dataset="accounts/another/datasets/d"), 403, "is not the account of this key"),
    (RFT, rft(dataset="accounts/somebody/models/d"), 400, "is no name of one of the datasets"),
    (
        RFT,
        rft(trainingConfig={"baseModel": "accounts/fireworks/models/qwen3-0p6b"}),
        404,
        "Known: tunesmith/embedded",
    ),
    (RFT, rft(lossConfig={"method": "DPO"}), 400, "Known: GRPO, DAPO, GSPO_TOKEN"),
    (
        RFT,
        rft(inferenceParameters={"responseCandidatesCount": 1}),
        400,
        "inference_parameters.response_candidates_count",
    ),
    (
        RFT,
        rft(inferenceParameters={"temperature": 3}),
        400,
        "inference_parameters.temperature: outside valid range [0.1, 2]",
    ),
    (RFT, rft(inferenceParameters={"extraBody": "x"}), 400, "no JSON object"),
    (RFT, rft(inferenceParameters={"extraBody": '{"logit_bias": {}}'}), 400, "'logit_bias', which rollouts"),
    (
        RFT,
        rft(trainingConfig={"baseModel": MODEL, "batchSizeSamples": 4}),
        400,
        "training_config.batch_size_samples",
    ),
    (RFT, rft(trainingConfig={"baseModel": MODEL, "jinjaTemplate": "x"}), 400, "chat template"),
    (
        RFT,
        rft(trainingConfig={"baseModel": MODEL, "samplerCheckpointSaveIntervalSteps": 5}),
        400,
        "last two checkpoints",
    ),
    (
        RFT,
        rft(trainingConfig={"baseModel": MODEL, "loraRank": 12}),
        400,
        "training_config.lora_rank: must be one of",
    ),
    (RFT, rft(trainingConfig={"baseModel": MODEL, "epochs": 1.5}), 400, "trainingConfig.epochs"),
    (RFT, rft(trainingConfig={"baseModel": MODEL, "outputModel": "A b"}), 400, "training_config.output_model"),
    (RFT, rft(mcpServer="x"), 400, "mcp_server"),
    (RFT, rft(awsS3Config={"iamRoleArn": "x"}), 400, "does not fetch"),
    (RFT, rft(wandbConfig={"enabled": True, "project": "p"}), 400, "wandb_config."),
    (SFT, sft(batchSize=100), 400, "batch_size: must be unset or zero (got 100)"),
    (SFT, sft(gradientAccumulationSteps=2), 400, "gradient_accumulation_steps: must be unset or zero"),
    (SFT, sft(earlyStop=True), 400, "early_stop: must be unset or zero"),
    (SFT, sft(mtpEnabled=True), 400, "mtp_enabled: must be unset or zero"),
    (SFT, sft(lrScheduler={"linear": {"decayRatio": 0.5}}), 400, "lr_scheduler.linear.decay_ratio"),
    (SFT, sft(lrScheduler={"linear": {}, "cosine": {}}), 400, "linear and cosine at once"),
    (SFT, sft(learningRate="x"), 400, "learningRate"),
    (SFT, sft(epochs=11), 400, "epochs: outside valid range [1, 10]"),
    (DPO, dpo(lossConfig={"klBeta": 0.1}), 400, "use dpo.beta"),
    (DPO, dpo(lossConfig={"dpo": {"beta": 0.5}}), 400, "loss_config.dpo.beta"),
    (DPO, dpo(lossConfig={"method": "GRPO"}), 400, "Known: DPO, ORPO"),
    (SFT, sft(dataset="pairs"), 400, "Missing required field 'messages'"),
]
"""One after the other in one app: each leaves it as it was."""


@pytest.mark.usefixtures("rows")
def test_refusals(call: Call):
    for collection, body, status, words in REFUSED:
        refused = call("POST", collection, json=body)
        assert (refused.status_code, words in refused.json()["message"]) == (status, True), (body, refused.text)
        assert refused.headers["x-should-retry"] == "false"
        assert call("GET", collection).json()["totalSize"] == 0, body


@pytest.mark.parametrize(
    ("collection", "body", "sentence"),
    [
        (
            RFT,
            rft(lossConfig={"method": "DAPO", "klBeta": 0.1}),
            "loss_config.kl_beta must be 0/unset when method is DAPO",
        ),
        (
            RFT,
            rft(lossConfig={"method": "METHOD_GSPO_TOKEN", "klBeta": 0.1}),
            "loss_config.kl_beta must be 0/unset when method is GSPO_TOKEN",
        ),
        (SFT, sft(learningRate=1e-2), "Learning rate 1e-2 outside valid range [1e-5, 5e-4]"),
        (SFT, sft(maxContextLength=100), "max_context_length must be divisible by 16"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_sentences_that_clients_know(call: Call, collection: str, body: dict[str, Any], sentence: str):
    refused = call("POST", collection, json=body)
    assert (refused.status_code, refused.json()["message"]) == (400, sentence)


def test_too_few_examples(call: Call, uploaded):
    uploaded("chats", b'{"messages":[{"role":"user","content":"2"},{"role":"assistant","content":"5"}]}\n' * 2)
    assert "at least 3 are needed" in call("POST", SFT, json=sft()).json()["message"]


@pytest.mark.usefixtures("rows")
def test_a_name_is_taken_once_and_retries_are_recognised(call: Call):
    given = {"params": {"supervisedFineTuningJobId": "one"}}
    create(call, SFT, sft(), **given)
    taken = call("POST", SFT, json=sft(), **given)
    assert taken.status_code == 409 and taken.headers["x-should-retry"] == "false"
    again = create(call, SFT, sft(), **given, headers={"x-stainless-retry-count": "1"})
    assert again["name"].endswith("/one")
    first = create(call, SFT, sft(epochs=3), headers={"idempotency-key": "k"})
    assert create(call, SFT, sft(epochs=3), headers={"idempotency-key": "k"})["name"] == first["name"]
    other = call("POST", SFT, json=sft(epochs=4), headers={"idempotency-key": "k"})
    assert other.status_code == 400 and "used for another request" in other.json()["message"]
    assert call("GET", SFT).json()["totalSize"] == 2


@pytest.mark.usefixtures("rows")
def test_jobs_are_listed_filtered_and_ended(call: Call):
    for name in ("a", "b"):
        create(call, SFT, sft(), params={"supervisedFineTuningJobId": name})
    pending = call("GET", SFT, params={"filter": 'state="JOB_STATE_PENDING"', "orderBy": "name desc"}).json()
    assert [row["name"][-1] for row in pending["supervisedFineTuningJobs"]] == ["b", "a"]
    assert call("GET", RFT).json() == {"reinforcementFineTuningJobs": [], "nextPageToken": "", "totalSize": 0}
    assert call("POST", SFT + "/a:cancel", json={}).json() == {}
    assert call("GET", SFT + "/a").json()["state"] == "JOB_STATE_CANCELLED"
    assert call("POST", SFT + "/a:cancel").status_code == 200, "twice is as good as once"
    assert call("POST", SFT + "/a:resume", json={}).json()["state"] in ("JOB_STATE_VALIDATING", "JOB_STATE_PENDING")
    assert call("GET", SFT + "/a:getMetricsFileEndpoint").status_code == 404
    assert call("DELETE", SFT + "/a").json() == {}
    assert call("GET", SFT + "/a").status_code == 404
    assert call("POST", SFT + "/a:cancel").status_code == 404
    assert call("GET", RFT + "/b").status_code == 404, "of another kind"


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["running", "succeeded"], "JOB_STATE_COMPLETED"),
        (["running", "failed"], "JOB_STATE_FAILED"),
        (["running", "early_stopped"], "JOB_STATE_EARLY_STOPPED"),
        (["running", "deleting"], "JOB_STATE_DELETED"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_what_has_ended_cannot_be_cancelled(call: Call, app, states: list[str], said: str):
    create(call, SFT, sft(), params={"supervisedFineTuningJobId": "a"})
    with app.state.store.begin() as db:
        row = db.get_one(JobRow, app.state.jobs.find("somebody", "sft", "a").id)
        for state in states:
            move(db, row, state, "so it was")
    refused = call("POST", SFT + "/a:cancel", json={})
    assert (refused.status_code, refused.json()["message"]) == (400, f"cannot cancel job in state: {said}")
    status = call("GET", SFT + "/a").json()["status"]
    assert status["message"] == "so it was" and (status["code"] == "OK") == (said != "JOB_STATE_FAILED")


@pytest.mark.usefixtures("rows")
def test_an_adapter_is_no_base_model(call: Call, app, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    app.state.tuned_models.add("somebody", "mine", "tunesmith/embedded", tmp_path / "adapter")
    refused = call("POST", SFT, json=sft(baseModel="accounts/somebody/models/mine"))
    assert refused.status_code == 400
    assert "not of kind base_model, but HF_PEFT_ADDON" in refused.json()["message"]
    made = create(call, SFT, {"dataset": "chats", "warmStartFrom": "accounts/somebody/models/mine"})
    assert made["warmStartFrom"] == "accounts/somebody/models/mine" and "baseModel" not in made
    taken = call("POST", SFT, json=sft(outputModel="mine"))
    assert taken.status_code == 409, taken.text


@pytest.mark.usefixtures("rows")
def test_the_key_of_weights_and_biases_is_a_secret(call: Call, app, tmp_path, monkeypatch):
    (tmp_path / "wandb.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    wandb = {"enabled": True, "apiKey": "wk-1234567", "project": "p", "entity": "e"}
    given = {"params": {"supervisedFineTuningJobId": "one"}}
    made = create(call, SFT, sft(wandbConfig=wandb), **given)
    assert made["wandbConfig"] == {"enabled": True, "project": "p", "entity": "e"}
    assert "wk-1234567" not in json.dumps([made, call("GET", SFT + "/one").json(), call("GET", "/secrets").json()])
    assert app.state.secrets.get("somebody", "WANDB_API_KEY") == "wk-1234567"
    kept = settings(app, "sft", "one")
    assert (kept["report_to"], kept["tracker_project"], kept["tracker_entity"]) == (["wandb"], "p", "e")
    again = create(call, SFT, sft(wandbConfig={"enabled": True}))
    assert again["state"].startswith("JOB_STATE_"), "the key is there already"
