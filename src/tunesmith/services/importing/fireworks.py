"""Fireworks: the JSON of a fine-tuning job of any kind, as it was created or as the service shows it."""

import json
from collections.abc import Mapping
from typing import Any

from tunesmith.services.importing.entry import Flat, Outcome, Rule, differ, keep, off, refuse, translate

WRAPPERS = ("reinforcementFineTuningJob", "supervisedFineTuningJob", "dpoJob")
SHOWN = (
    *("name", "createTime", "updateTime", "completedTime", "createdBy", "state", "displayName", "outputMetrics"),
    *("outputStats", "trainerLogsSignedUrl", "metricsFileSignedUrl"),
)
PLACES = ("", "trainingConfig.")
"""Supervised jobs have the training settings at the top, the others in an object of their own."""


def recognise(config: Mapping[str, Any]) -> bool:
    named = any(name in config for name in (*WRAPPERS, "trainingConfig", "lossConfig", "inferenceParameters"))
    return named or ("baseModel" in config and "dataset" in config) or "warmStartFrom" in config


def kind_of(flat: Flat) -> str | None:
    keys = {key.partition(".")[2] if key.split(".")[0] in WRAPPERS else key for key in flat}
    if "evaluator" in keys or any(key.startswith("inferenceParameters.") for key in keys):
        return "rft"
    method = str(flat.get("lossConfig.method", "")).upper()
    return "dpo" if method in ("DPO", "ORPO") or any(key.startswith("trainingConfig.") for key in keys) else "sft"


def defaults(_kind: str) -> dict[str, Any]:
    return {}


def rules(kind: str) -> dict[str, Rule]:
    own = SHARED | {f"{place}{name}": rule for place in PLACES for name, rule in _training(kind).items()}
    return own | {f"{wrapper}.{name}": rule for wrapper in WRAPPERS for name, rule in own.items()}


def _training(kind: str) -> dict[str, Rule]:
    tokens = _tokens if kind == "rft" else off("rows are counted, not tokens: batchSizeSamples")
    return {
        "baseModel": _model,
        "warmStartFrom": refuse("an adapter on their server: download it and give --warm-start-from"),
        "outputModel": differ("--output-dir names the run here"),
        "epochs": keep("epochs"),
        "learningRate": keep("learning_rate"),
        "learningRateWarmupSteps": keep("learning_rate_warmup_steps"),
        "loraRank": keep("lora_rank"),
        "batchSize": tokens,
        "batchSizeSamples": _samples(kind),
        "gradientAccumulationSteps": keep("gradient_accumulation_steps")
        if kind == "rft"
        else off("set batchSizeSamples"),
        "maxContextLength": translate("max_context_length", "longer rows are refused by line here, never cut"),
        "optimizerWeightDecay": keep("optimizer_weight_decay"),
        "samplerCheckpointSaveIntervalSteps": translate("save_every", "steps", lambda n: max(1, int(n))),
        "jinjaTemplate": off("the model's own chat template is used here"),
        "earlyStop": off("--patience stops on held-out rows"),
        "isTurbo": off("not there here"),
        "mtpEnabled": off("not there here"),
        **dict.fromkeys(
            ("region", "nodes", "nodeCount", "useReservation", "reservationTarget", "usePurpose"), differ(PLACE)
        ),
    }


PLACE = "about their machines"


def _tokens(value: Any, _flat: Flat) -> Outcome:
    return Outcome("kept", {"batch_size": int(value)} if value else {}, "tokens of a pass")


def _samples(kind: str) -> Rule:
    def rule(value: Any, _flat: Flat) -> Outcome:
        if not value:
            return Outcome("kept", {}, "not set")
        if kind == "rft":
            return Outcome("different", {}, "passes are counted in tokens here: --batch-size")
        return Outcome("translated", {"batch_size_samples": int(value)}, "rows or pairs per update")

    return rule


def _model(value: Any, _flat: Flat) -> Outcome:
    return Outcome(
        "different", {"base_model": value}, "a name on their server: give --base-model, the model's folder here"
    )


def _method(value: Any, _flat: Flat) -> Outcome:
    name = str(value).upper().removeprefix("METHOD_").replace("-", "_")
    ours = {"GRPO": "grpo", "DAPO": "dapo", "GSPO_TOKEN": "gspo-token", "UNSPECIFIED": "grpo"}
    if name in ours:
        return Outcome("kept", {"rl_loss_method": ours[name]})
    if name in ("DPO", "ORPO"):
        return Outcome("kept", {"preference_loss": name.lower()})
    return Outcome("refused", {}, f"losses here: {', '.join(ours.values())}, dpo, orpo")


def _beta(value: Any, _flat: Flat) -> Outcome:
    return Outcome("kept", {"rl_kl_beta": value} if value else {}, "0 is the method's own")


def _extra(value: Any, _flat: Flat) -> Outcome:
    given = json.loads(value) if value else {}
    return Outcome(
        "refused" if given else "kept", {}, f"no such settings here: {', '.join(given)}" if given else "empty"
    )


def _wandb(value: Any, _flat: Flat) -> Outcome:
    return Outcome("translated", {"report_to": ["wandb"]} if value else {}, "the key comes from WANDB_API_KEY")


SHARED: dict[str, Rule] = {
    "dataset": refuse("a dataset on their server: download it and give --dataset"),
    "evaluationDataset": refuse("a dataset on their server: download it and give --evaluation-dataset"),
    "evaluator": refuse("an evaluator on their server: give --evaluator file.py::function"),
    "evalAutoCarveout": keep("eval_auto_carveout"),
    "chunkSize": keep("chunk_size"),
    "maxConcurrentRollouts": keep("max_concurrent_rollouts"),
    "maxConcurrentEvaluations": differ("graders have processes of their own, as many as help"),
    "lossConfig.method": _method,
    "lossConfig.klBeta": _beta,
    "lossConfig.dpo.beta": keep("dpo_beta"),
    "inferenceParameters.maxOutputTokens": translate("max_tokens", "tokens of an answer"),
    "inferenceParameters.responseCandidatesCount": translate("response_candidates_count", "attempts at each prompt"),
    "inferenceParameters.temperature": keep("temperature"),
    "inferenceParameters.topP": keep("top_p"),
    "inferenceParameters.topK": keep("top_k"),
    "inferenceParameters.extraBody": _extra,
    "lrScheduler.constant": translate("learning_rate_schedule", "constant", lambda _: "constant"),
    "lrScheduler.linear.minLrRatio": keep("min_lr_ratio"),
    "lrScheduler.cosine.minLrRatio": keep("min_lr_ratio"),
    "lrScheduler.linear": translate("learning_rate_schedule", "linear", lambda _: "linear"),
    "lrScheduler.cosine": translate("learning_rate_schedule", "cosine", lambda _: "cosine"),
    "wandbConfig.enabled": _wandb,
    "wandbConfig.project": keep("tracker_project"),
    "wandbConfig.entity": keep("tracker_entity"),
    "wandbConfig.runId": differ("the run has an id of its own"),
    "wandbConfig.apiKey": refuse("a key is no setting: put it into WANDB_API_KEY"),
    "mcpServer": refuse("not there here"),
    "maxInferenceReplicaCount": differ(PLACE),
    **dict.fromkeys(SHOWN, differ("what became of the job there")),
    **dict.fromkeys(
        (f"jobProgress.{n}" for n in ("percent", "epoch", "inputTokens", "outputTokens", "outputRows")),
        differ("what became of the job there"),
    ),
    **dict.fromkeys(("status.code", "status.message"), differ("what became of the job there")),
    **dict.fromkeys(("awsS3Config", "azureBlobStorageConfig"), differ("rows are files here")),
}
