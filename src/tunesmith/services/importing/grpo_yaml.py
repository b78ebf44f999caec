"""A GRPO run with LoRA as one YAML file with sections: lora, training, sampling, kl, grpo, rewards."""

from collections.abc import Mapping
from typing import Any

from tunesmith.grading import GRADERS
from tunesmith.services.importing.entry import Flat, Outcome, Rule, differ, keep, off, only, refuse, translate

SECTIONS = ("lora", "training", "sampling", "kl", "grpo")
DECAYS = ("linear", "linear_decay", "decay")


def recognise(config: Mapping[str, Any]) -> bool:
    return sum(isinstance(config.get(name), Mapping) for name in SECTIONS) >= 2


def kind_of(_flat: Flat) -> str | None:
    return "rft"


def defaults(_kind: str) -> dict[str, Any]:
    return {}


def rules(_kind: str) -> dict[str, Rule]:
    return RULES


def _rewards(value: Any, _flat: Flat) -> Outcome:
    """A list of {name, weight}."""
    parts = [(r["name"], r.get("weight", 1.0)) for r in value] if isinstance(value, list) else []
    return _evaluators(parts)


def _reward(_value: Any, flat: Flat) -> Outcome:
    """One of a mapping of names to weights, or to {weight}: all of them together are the evaluator."""
    weights = {key.removeprefix("rewards."): weight for key, weight in flat.items() if key.startswith("rewards.")}
    return _evaluators([(name.removesuffix(".weight"), weight) for name, weight in weights.items()])


def _evaluators(parts: list[tuple[str, Any]]) -> Outcome:
    absent = [name for name, _ in parts if name not in GRADERS and "::" not in str(name)]
    if absent or not parts:
        mend = "give the graders as --evaluator name=weight or file.py::function=weight"
        return Outcome(
            "refused", {}, f"{', '.join(map(str, absent)) or 'no reward'}: no grader of that name here; {mend}"
        )
    named = [f"{name}={float(weight):g}" for name, weight in parts]
    return Outcome("translated", {"evaluator": named}, "a weighted sum; every part is logged raw and weighted")


def _schedule(value: Any, flat: Flat) -> Outcome:
    if value in (None, "constant"):
        return Outcome("kept", {"temperature_schedule": "constant"})
    end = flat.get("sampling.temperature_end", flat.get("sampling.final_temperature"))
    if value in DECAYS and end is not None:
        return Outcome(
            "translated", {"temperature_schedule": "linear", "temperature_end": end}, "over the steps of the job"
        )
    return Outcome("refused", {}, "give constant, or linear with sampling.temperature_end")


def _modules(value: Any, _flat: Flat) -> Outcome:
    if value in ("all-linear", "all", None):
        return Outcome("kept", {}, "every linear layer is adapted")
    return Outcome("different", {}, f"every linear layer is adapted here, not only {', '.join(map(str, value))}")


RULES: dict[str, Rule] = {
    **dict.fromkeys(("model", "model_name", "base_model", "model.name"), keep("base_model")),
    **dict.fromkeys(("dataset", "dataset.path", "data.path", "data.train", "training.dataset"), keep("dataset")),
    **dict.fromkeys(("data.eval", "evaluation.dataset"), keep("evaluation_dataset")),
    "seed": keep("seed"),
    "training.seed": keep("seed"),
    "method": only(("grpo", "GRPO"), "only GRPO runs have this form"),
    "algorithm": only(("grpo", "GRPO"), "only GRPO runs have this form"),
    "lora.rank": keep("lora_rank"),
    "lora.alpha": keep("lora_alpha"),
    "lora.target_modules": _modules,
    "lora.dropout": off("there is no dropout in adapters here"),
    "training.learning_rate": keep("learning_rate"),
    "training.batch_size": translate("chunk_size", "prompts per step; each step samples them group_size times"),
    "training.group_size": translate("response_candidates_count", "attempts at each prompt"),
    "grpo.group_size": translate("response_candidates_count", "attempts at each prompt"),
    "training.num_epochs": keep("epochs"),
    "training.epochs": keep("epochs"),
    "training.eval_every": keep("eval_every"),
    "training.save_every": keep("save_every"),
    "training.warmup_steps": translate("learning_rate_warmup_steps", "optimizer updates"),
    "training.lr_schedule": keep("learning_rate_schedule"),
    "training.max_grad_norm": keep("grad_clip"),
    "training.weight_decay": keep("optimizer_weight_decay"),
    "sampling.temperature": keep("temperature"),
    "sampling.temperature_schedule": _schedule,
    "sampling.temperature_end": differ("read with temperature_schedule"),
    "sampling.final_temperature": differ("read with temperature_schedule"),
    "sampling.top_p": keep("top_p"),
    "sampling.top_k": keep("top_k"),
    "sampling.max_tokens": keep("max_tokens"),
    "kl.penalty_coef": translate(
        "rl_kl_beta", "added to the loss with the k3 estimator, per token; 0 is grpo's own 0.001"
    ),
    "kl.estimator": keep("kl_estimator"),
    "kl.target": differ("no controller changes the weight here; a finding says when KL is too high"),
    "kl.target_kl": differ("no controller changes the weight here; a finding says when KL is too high"),
    "kl.max_kl": differ("a finding says when KL is too high; stop at it with a gate after the run"),
    "kl.discount_factor": off("KL is not discounted here"),
    "kl.reference_model": refuse("the reference is the model at the start of the job"),
    "grpo.advantage_clip": keep("advantage_clip"),
    "grpo.clip_epsilon": only((0.2,), "grpo clips the ratio at 0.2; use the Training API for another"),
    "grpo.normalize_advantages": only((True,), "advantages are always divided by the group's standard deviation"),
    "grpo.normalize_std": only((True,), "advantages are always divided by the group's standard deviation"),
    "grpo.remove_constant_reward_groups": only((True,), "groups without variance are always dropped"),
    "rewards": _rewards,
    "logging.*": differ("every step is recorded in the run folder; --report-to names trackers"),
    "output_dir": keep("output_dir"),
    "run_name": translate("tracker_run", "the run's name at its trackers"),
    "rewards.*": _reward,
}
