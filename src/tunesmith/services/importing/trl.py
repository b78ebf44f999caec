"""TRL: the file of ``trl grpo|sft|dpo --config``, or a trainer's arguments. Absent keys have TRL's defaults."""

from collections.abc import Mapping
from typing import Any

from tunesmith.services.importing.entry import (
    Flat,
    Outcome,
    Rule,
    differ,
    keep,
    off,
    only,
    refuse,
    translate,
    unless_none,
)

SIGNS = (
    "per_device_train_batch_size",
    "num_generations",
    "num_train_epochs",
    "model_name_or_path",
    "use_peft",
    "lora_r",
)
RATES = {"rft": 1e-6, "sft": 2e-5, "dpo": 1e-6}
DEVICES = "as on one device"


def recognise(config: Mapping[str, Any]) -> bool:
    return any(name in config for name in SIGNS)


def kind_of(flat: Flat) -> str | None:
    if "num_generations" in flat or "reward_funcs" in flat or "max_completion_length" in flat:
        return "rft"
    if "precompute_ref_log_probs" in flat or flat.get("loss_type") in ("sigmoid", ["sigmoid"]) or "beta" in flat:
        return "dpo"
    return (
        "sft"
        if {"packing", "assistant_only_loss", "dataset_text_field", "completion_only_loss"} & flat.keys()
        else None
    )


def defaults(kind: str) -> dict[str, Any]:
    """What TRL 1.16 uses for a key that is not there, where that matters here."""
    shared = {
        "learning_rate": RATES[kind],
        "num_train_epochs": 3.0,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "per_device_train_batch_size": 8,
        "seed": 42,
        "save_steps": 500,
        "use_peft": False,
    }
    if kind == "rft":
        return shared | {
            "temperature": 1.0,
            "top_k": 0,
            "max_completion_length": 512,
            "num_generations": 8,
            "beta": 0.0,
        }
    return shared | {"max_length": 1024}


def rules(kind: str) -> dict[str, Rule]:
    return SHARED | {"rft": GRPO, "sft": SFT, "dpo": DPO}[kind]


def _batch(value: Any, flat: Flat) -> Outcome:
    """Samples of one update: of one device times accumulation."""
    samples = int(value) * int(flat.get("gradient_accumulation_steps") or 1)
    return Outcome("translated", {"batch_size_samples": samples}, f"times gradient_accumulation_steps, {DEVICES}")


def _completions(value: Any, flat: Flat) -> Outcome:
    """Completions of one update, as prompts."""
    completions = int(value) * int(flat.get("steps_per_generation") or flat.get("gradient_accumulation_steps") or 1)
    prompts = max(1, completions // int(flat.get("num_generations", 8)))
    note = f"{completions} completions are {prompts} prompts per step, {DEVICES}"
    return Outcome("translated", {"chunk_size": prompts}, note)


def _epochs(value: Any, _flat: Flat) -> Outcome:
    if float(value).is_integer():
        return Outcome("kept", {"epochs": int(value)})
    return Outcome("refused", {}, "only whole epochs; give --epochs")


def _schedule(value: Any, _flat: Flat) -> Outcome:
    known = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
    if value not in known:
        return Outcome("refused", {}, f"schedules here: {', '.join(sorted(set(known.values())))}")
    return Outcome("kept" if value == known[value] else "translated", {"learning_rate_schedule": known[value]})


def _peft(value: Any, flat: Flat) -> Outcome:
    if value:
        rank, alpha = flat.get("lora_r", 16), flat.get("lora_alpha", 32)
        return Outcome("translated", {"lora_rank": rank, "lora_alpha": alpha}, "the adapter of lora_r and lora_alpha")
    return Outcome("translated", {"lora_rank": 0}, "all parameters are trained, in float32")


def _modules(value: Any, _flat: Flat) -> Outcome:
    if value in (None, "all-linear", ["all-linear"]):
        return Outcome("kept", {}, "every linear layer is adapted")
    return Outcome("different", {}, f"every linear layer is adapted here, not only {value}")


def _beta(value: Any, flat: Flat) -> Outcome:
    if flat.get("epsilon_high") == 0.28 and not value:
        return Outcome("kept", {}, "dapo has no KL")
    if value:
        return Outcome("kept", {"rl_kl_beta": value}, "")
    return Outcome("different", {}, "no KL there; grpo here has its own weight 0.001. dapo has none, and clips at 1.28")


def _upper(value: Any, flat: Flat) -> Outcome:
    if value in (None, 0.2):
        return Outcome("kept", {}, "the ratio is clipped at 1.2")
    if value == 0.28 and not flat.get("beta"):
        return Outcome("translated", {"rl_loss_method": "dapo"}, "dapo: clipped at 0.8 and 1.28, no KL")
    return Outcome("refused", {}, "0.28 without KL is dapo; others need the Training API")


def _aggregation(value: Any, _flat: Flat) -> Outcome:
    if value in ("dapo", "bnpo"):
        return Outcome("kept", {}, "a mean over all tokens of the update")
    if value == "grpo":
        return Outcome("translated", {"length_norm": True}, "each response's mean first")
    return Outcome("refused", {}, "only grpo, bnpo and dapo have their like here")


def _ratio(value: Any, _flat: Flat) -> Outcome:
    if value == "token":
        return Outcome("kept", {}, "a ratio per token")
    note = "a ratio per sequence, with gspo-token's own clips 3e-4 and 4e-4"
    return Outcome("different", {"rl_loss_method": "gspo-token"}, note)


def _trackers(value: Any, _flat: Flat) -> Outcome:
    names = [value] if isinstance(value, str) else list(value or [])
    here = [n for n in names if n in ("wandb", "mlflow", "tensorboard", "trackio")]
    if names and not here and names not in (["none"], ["all"]):
        return Outcome("different", {}, f"no tracker of that name here: {', '.join(names)}")
    return Outcome("kept", {"report_to": here} if here else {})


GPU = "the device decides here: float32 on a CPU, a bfloat16 base below adapters on a GPU"
SHARED: dict[str, Rule] = {
    "model_name_or_path": keep("base_model"),
    "dataset_name": differ("a local file here: give --dataset"),
    **dict.fromkeys(
        ("dataset_config", "dataset_train_split", "dataset_test_split"), differ("part of the dataset's name")
    ),
    "learning_rate": keep("learning_rate"),
    "num_train_epochs": _epochs,
    "max_steps": only((-1, None), "steps follow from rows, batch and epochs; give --epochs"),
    "gradient_accumulation_steps": differ("counted into the batch: passes do not change the result here"),
    "lr_scheduler_type": _schedule,
    "warmup_steps": translate("learning_rate_warmup_steps", "optimizer updates"),
    "warmup_ratio": only((0, 0.0, None), "give --learning-rate-warmup-steps"),
    "weight_decay": keep("optimizer_weight_decay"),
    "adam_beta1": keep("adam_beta1"),
    "adam_beta2": keep("adam_beta2"),
    "adam_epsilon": keep("adam_eps"),
    "max_grad_norm": keep("grad_clip"),
    "optim": only(("adamw_torch", "adamw_torch_fused", "adamw"), "AdamW is the one optimizer here"),
    "seed": keep("seed"),
    "output_dir": keep("output_dir"),
    "run_name": translate("tracker_run", "the run's name at its trackers"),
    "report_to": _trackers,
    "use_peft": _peft,
    "lora_r": differ("read with use_peft"),
    "lora_alpha": differ("read with use_peft"),
    "lora_dropout": differ("there is no dropout in adapters here"),
    "lora_target_modules": _modules,
    "use_rslora": off("the scale is alpha / rank"),
    "use_dora": off("only plain LoRA"),
    "load_in_4bit": off("no quantized base models"),
    "load_in_8bit": off("no quantized base models"),
    "eval_strategy": differ("held-out rows are scored before and after, and at eval_every"),
    "eval_steps": unless_none(translate("eval_every", "steps", int)),
    "save_strategy": only(("steps", "epoch"), "a crash would lose the run; checkpoints are kept at save_every"),
    "save_steps": translate("save_every", "steps", int),
    "per_device_eval_batch_size": differ("does not change a result here"),
    **dict.fromkeys(
        ("bf16", "fp16", "dtype", "torch_dtype", "gradient_checkpointing", "attn_implementation"), differ(GPU)
    ),
    **dict.fromkeys(
        ("logging_steps", "logging_strategy", "logging_first_step", "log_completions", "dataset_num_proc"),
        differ("every step is recorded, with its attempts"),
    ),
    "push_to_hub": off("nothing is uploaded; the result is a folder in PEFT or Hugging Face format"),
    "trust_remote_code": off("no code of a model is run"),
    "deepspeed": off("one device for now"),
    "fsdp": off("one device for now"),
}
GRPO: dict[str, Rule] = {
    "per_device_train_batch_size": _completions,
    "num_generations": translate("response_candidates_count", "attempts at each prompt"),
    "max_completion_length": translate("max_tokens", "tokens of an answer"),
    "max_prompt_length": differ("a prompt that does not fit max_context_length is refused, never cut"),
    "temperature": keep("temperature"),
    "top_p": keep("top_p"),
    "top_k": keep("top_k"),
    "min_p": off("not a way of sampling here"),
    "repetition_penalty": only((1, 1.0, None), "not a way of sampling here"),
    "beta": _beta,
    "epsilon": only((0.2,), "the ratio is clipped at 0.2 below; use the Training API for another"),
    "epsilon_high": _upper,
    "delta": off("there is no second clip here"),
    "loss_type": _aggregation,
    "importance_sampling_level": _ratio,
    "scale_rewards": only((True, "group"), "advantages are always divided by the group's standard deviation"),
    "num_iterations": only((1,), "each attempt is trained on once"),
    "steps_per_generation": differ("read with per_device_train_batch_size"),
    "mask_truncated_completions": off("answers that were cut off are trained on; a finding says when they are many"),
    "sync_ref_model": off("the reference is the model at the start"),
    "use_vllm": differ("the engine is our own"),
    "vllm_mode": differ("the engine is our own"),
    "reward_funcs": refuse(
        "functions are graders here: give --evaluator file.py::function, its (completion, row) -> score"
    ),
    "reward_weights": differ("written behind each evaluator: --evaluator file.py::f=0.7"),
}
SFT: dict[str, Rule] = {
    "per_device_train_batch_size": _batch,
    "max_length": unless_none(translate("max_context_length", "longer rows are refused by line here, never cut")),
    "max_seq_length": unless_none(translate("max_context_length", "longer rows are refused by line here, never cut")),
    "packing": differ("real tokens are always packed here, and no row sees another"),
    "padding_free": differ("there is no padding here"),
    "assistant_only_loss": only(
        (True,), "only what the assistant says is trained; rows of plain text have no like here"
    ),
    "completion_only_loss": differ("what the assistant says is trained, of all its messages unless their weight is 0"),
    "dataset_text_field": refuse("rows are conversations here: give messages"),
    "loss_type": only(("nll",), "cross entropy is the loss of SFT here"),
}
DPO: dict[str, Rule] = {
    "per_device_train_batch_size": _batch,
    "max_length": unless_none(translate("max_context_length", "longer pairs are refused by line here, never cut")),
    "max_prompt_length": differ("longer pairs are refused by line here, never cut"),
    "beta": keep("dpo_beta"),
    "loss_type": only(("sigmoid", ["sigmoid"]), "dpo and orpo are the losses here"),
    "label_smoothing": off("not there here"),
    "precompute_ref_log_probs": differ("the reference is always scored once, at the start"),
}
