"""OpenAI: the JSON of a fine-tuning job, as it was created or as the service shows it."""

from collections.abc import Mapping
from typing import Any

from tunesmith.services.importing.entry import Flat, Outcome, Rule, differ, keep, off, refuse, translate, unless_none
from tunesmith.spec.load import KINDS

METHODS = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rft"}
SHOWN = (
    *("id", "object", "created_at", "finished_at", "status", "error", "fine_tuned_model", "organization_id"),
    *("result_files", "trained_tokens", "estimated_finish", "user_provided_suffix", "metadata"),
)


def recognise(config: Mapping[str, Any]) -> bool:
    return "training_file" in config


def kind_of(flat: Flat) -> str | None:
    return METHODS.get(str(flat.get("method.type", "supervised")))


def defaults(_kind: str) -> dict[str, Any]:
    return {}


def rules(kind: str) -> dict[str, Rule]:
    place = f"method.{next(name for name, ours in METHODS.items() if ours == kind)}"
    own = {
        f"{prefix}.{name}": rule
        for prefix in (f"{place}.hyperparameters", "hyperparameters")
        for name, rule in _own(kind).items()
    }
    return (
        SHARED
        | own
        | {f"{place}.grader.*": refuse("give the grader as --evaluator; docs/openai.md says which is which")}
    )


def _own(kind: str) -> dict[str, Rule]:
    batch = "chunk_size" if kind == "rft" else "batch_size_samples"
    return {
        "n_epochs": _auto(translate("epochs", "passes over the file")),
        "batch_size": _auto(translate(batch, "prompts per step" if kind == "rft" else "rows per update")),
        "learning_rate_multiplier": _auto(_rate(kind)),
        "beta": _auto(keep("dpo_beta")),
        "eval_interval": _auto(translate("eval_every", "steps")),
        "eval_samples": _auto(keep("eval_samples")),
        "compute_multiplier": _auto(differ("there is no such dial; --n is the number of attempts")),
        "reasoning_effort": differ("there is no such dial"),
    }


def _auto(rule: Rule) -> Rule:
    """What the service chooses for itself is our default."""
    return lambda value, flat: (
        Outcome("different", {}, "auto: the default here") if value == "auto" else rule(value, flat)
    )


def _rate(kind: str) -> Rule:
    default = float(KINDS[kind].model_fields["learning_rate"].default)
    return translate(
        "learning_rate",
        f"times {default:g}, the default of {kind} here; theirs is not published",
        lambda m: float(f"{m * default:.9g}"),
    )


SHARED: dict[str, Rule] = {
    "model": refuse("a hosted model: give --base-model, an open model's folder"),
    "training_file": refuse("a file on their server: give --dataset, the same JSONL"),
    "validation_file": unless_none(refuse("a file on their server: give --evaluation-dataset")),
    "seed": unless_none(keep("seed")),
    "suffix": unless_none(differ("--output-dir names the run here")),
    "method.type": differ("the kind of job"),
    "integrations": off("--report-to wandb, and --tracker-project"),
    "expires_after": off("nothing expires here"),
    **dict.fromkeys(SHOWN, differ("what became of the job there")),
}
