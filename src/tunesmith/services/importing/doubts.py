"""What does not add up in a configuration, whatever tool it is for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.health.learning_rate import learning_rate_rule
from tunesmith.models.config import read_config
from tunesmith.services.importing.entry import Entry, Flat
from tunesmith.services.names import base_model

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"}
LARGE_BATCH = 32
FAR = 3.0
"""A learning rate this many times above or below the rule's is pointed out."""


def doubts_of(flat: Flat, settings: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    yield from _stated_twice(entries)
    yield from _not_here(settings)
    yield from _learning_rate(settings)
    rank, alpha = settings.get("lora_rank", 8), settings.get("lora_alpha", 32)
    if rank and alpha != 32 and alpha in (rank, 2 * rank):
        yield f"lora_alpha {alpha:g} goes with the rank: with a constant 32 one learning rate fits every rank"
    modules = next((v for k, v in flat.items() if k.endswith("target_modules") and isinstance(v, list)), None)
    if modules and {str(m) for m in modules} <= ATTENTION:
        yield "adapters on attention alone learn less than on all linear layers, even with as many parameters"
    if settings["kind"] == "rft":
        yield from _of_rft(settings)


def _stated_twice(entries: Sequence[Entry]) -> Iterator[str]:
    """One setting that two keys of the file give different values."""
    said: dict[str, tuple[str, Any]] = {}
    for entry in entries:
        for name, value in entry.outcome.settings.items():
            if not entry.default and name in said and said[name][1] != value:
                before, other = said[name]
                yield f"{name} is stated twice: {before} says {other}, {entry.key} says {value}; the last one counts"
            if not entry.default:
                said[name] = (entry.key, value)


def _not_here(settings: Mapping[str, Any]) -> Iterator[str]:
    """A base model by a name that only a hub or somebody's server knows."""
    try:
        base_model(str(settings.get("base_model", "embedded")))
    except UserError as e:
        yield f"base_model {e.where}: {e.problem}; give --base-model, the folder of an open model"


def _learning_rate(settings: Mapping[str, Any]) -> Iterator[str]:
    base, rate = Path(str(settings.get("base_model", ""))), settings.get("learning_rate")
    if rate is None or not (base / "config.json").is_file():
        return
    try:
        config = read_config(base)
    except UserError:
        return
    rule = learning_rate_rule(config.family, config.hidden, lora=bool(settings.get("lora_rank", 8)))
    if rule.learning_rate is None or rule.learning_rate / FAR <= rate <= rule.learning_rate * FAR:
        return
    times = rate / rule.learning_rate
    yield (
        f"learning_rate {rate:g} is {times:.2g} times the {rule.learning_rate:.2g} of the rule for {config.family} "
        f"with hidden size {config.hidden}, which was {rule.note}"
    )


def _of_rft(settings: Mapping[str, Any]) -> Iterator[str]:
    prompts, beta = settings.get("chunk_size", 0), settings.get("rl_kl_beta", 0.0)
    if settings.get("lora_rank", 8) and prompts > LARGE_BATCH:
        yield f"{prompts} prompts per step: adapters suffer more from large batches, and rank does not cure it"
    if beta >= 0.01:
        yield f"rl_kl_beta {beta:g} is {beta / 0.001:g} times what grpo is known to use; look at the KL first"
    evaluator = settings.get("evaluator")
    if evaluator is not None and (isinstance(evaluator, str) or len(evaluator) == 1):
        yield "a single reward is easier to game than several parts; add format or length as a part of small weight"
    if settings.get("temperature_end") is not None and settings["temperature_end"] < settings.get("temperature", 0.7):
        yield "temperature falls during the run: attempts become alike, and groups without variance teach nothing"
