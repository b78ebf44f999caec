"""The Tinker cookbook: the ``config.json`` that a run writes into its log folder."""

from collections.abc import Mapping
from typing import Any

from tunesmith.services.importing.entry import Flat, Outcome, Rule, differ, keep, off, only, translate, unless_none

BUILDER = "dataset_builder."


def recognise(config: Mapping[str, Any]) -> bool:
    return "model_name" in config and isinstance(config.get("dataset_builder"), Mapping)


def kind_of(flat: Flat) -> str | None:
    if "dpo_beta" in flat:
        return "dpo"
    return "rft" if f"{BUILDER}group_size" in flat or "kl_penalty_coef" in flat else "sft"


def defaults(kind: str) -> dict[str, Any]:
    shared = {"lora_rank": 32, "num_epochs": 1}
    return shared | ({"temperature": 1.0} if kind == "rft" else {"lr_schedule": "linear", "adam_eps": 1e-8})


def rules(kind: str) -> dict[str, Rule]:
    return SHARED | {"rft": RL, "sft": SUPERVISED, "dpo": SUPERVISED | DPO}[kind]


def _loss(value: Any, _flat: Flat) -> Outcome:
    if value in ("importance_sampling", "ppo"):
        note = "grpo: ratios are clipped at 0.8 and 1.2, the mean is over tokens, advantages are divided by the std"
        return Outcome("different", {"rl_loss_method": "grpo"}, note)
    return Outcome("refused", {}, "a loss of the Training API: run the cookbook's own loop against tunesmith serve")


REMOTE = "about the service, not the training"
SHARED: dict[str, Rule] = {
    "model_name": keep("base_model"),
    "learning_rate": keep("learning_rate"),
    "lora_rank": keep("lora_rank"),
    "num_epochs": keep("epochs"),
    "eval_every": translate("eval_every", "steps", lambda n: max(0, int(n))),
    "save_every": translate("save_every", "steps", lambda n: max(1, int(n))),
    "log_path": differ("a run folder of its own here; --output-dir names it"),
    "load_checkpoint_path": off("give --warm-start-from, an adapter folder"),
    "wandb_project": unless_none(translate("tracker_project", "and --report-to wandb")),
    "wandb_name": unless_none(translate("tracker_run", "and --report-to wandb")),
    "max_steps": off("steps follow from rows, batch and epochs"),
    **dict.fromkeys(("base_url", "ttl_seconds", "session_name", "user_metadata", "recipe_name"), differ(REMOTE)),
    **dict.fromkeys(("rolling_save_every", "rolling_ttl_seconds"), differ("the last checkpoints are kept here")),
    **dict.fromkeys(("enable_trace", "span_chart_every"), differ("--report-to otel traces every step")),
    **dict.fromkeys(("renderer_name", f"{BUILDER}renderer_name"), differ("the model's own chat template is used here")),
    f"{BUILDER}model_name_for_tokenizer": differ("the model's own tokenizer is used here"),
    f"{BUILDER}common_config.model_name_for_tokenizer": differ("the model's own tokenizer is used here"),
    f"{BUILDER}common_config.renderer_name": differ("the model's own chat template is used here"),
    **dict.fromkeys(
        ("evaluator_builders", "infrequent_evaluator_builders"), differ("held-out rows are scored by the evaluator")
    ),
    "infrequent_eval_every": differ("held-out rows are scored at eval_every"),
    f"{BUILDER}seed": keep("seed"),
    f"{BUILDER}type": differ("give the rows as --dataset"),
    f"{BUILDER}file_path": keep("dataset"),
}
RL: dict[str, Rule] = {
    "max_tokens": keep("max_tokens"),
    "temperature": keep("temperature"),
    f"{BUILDER}batch_size": translate("chunk_size", "prompts per step"),
    f"{BUILDER}groups_per_batch": translate("chunk_size", "prompts per step"),
    f"{BUILDER}group_size": translate("response_candidates_count", "attempts at each prompt"),
    f"{BUILDER}convo_prefix": differ("write it into the rows' messages"),
    "kl_penalty_coef": differ(
        "in the loss here (k3, per token), in the advantages there; 0 is grpo's own 0.001", "rl_kl_beta"
    ),
    "kl_discount_factor": off("KL is not discounted here"),
    "kl_reference_config": off("the reference is the model at the start"),
    "loss_fn": _loss,
    "loss_fn_config": off("the clips are the method's own"),
    "num_substeps": only((1,), "one update per step; batch_size in tokens cuts it into several"),
    "remove_constant_reward_groups": differ("groups without variance are always dropped here"),
    "compute_post_kl": differ("KL after the update is a metric of every step"),
    "async_config": off("every step is on-policy here"),
    "stream_minibatch_config": off("every step is on-policy here"),
    "rollout_error_tolerance": differ("max_grader_error_rate says how many gradings may fail"),
    "termination": off("rewards are the evaluator's here"),
    **dict.fromkeys(("num_groups_to_log", "rollout_json_export"), differ("every attempt is kept as a table here")),
}
SUPERVISED: dict[str, Rule] = {
    "lr_schedule": keep("learning_rate_schedule"),
    "adam_eps": keep("adam_eps"),
    f"{BUILDER}common_config.batch_size": translate("batch_size_samples", "conversations or pairs per update"),
    f"{BUILDER}batch_size": translate("batch_size_samples", "conversations or pairs per update"),
    f"{BUILDER}common_config.max_length": unless_none(
        translate("max_context_length", "longer rows are refused, never cut")
    ),
    f"{BUILDER}common_config.train_on_what": only(
        (None, "all_assistant_messages"), "give the other messages weight 0 in the rows", "what the assistant says"
    ),
    f"{BUILDER}test_size": differ("a tenth is held out here, at most 200 rows; or --evaluation-dataset"),
    f"{BUILDER}shuffle_seed": differ("seed decides the order here"),
    "submit_ahead": differ(REMOTE),
    "async_periodic_saves": differ(REMOTE),
    **dict.fromkeys(("save_every_tokens", "save_every_seconds"), off("checkpoints are counted in steps")),
}
DPO: dict[str, Rule] = {
    "dpo_beta": keep("dpo_beta"),
    "reference_model_name": off("the reference is the model at the start"),
    "num_replicas": differ(REMOTE),
}
