"""The peer's side of a race: TRL's GRPOTrainer, SFTTrainer and DPOTrainer at their defaults, logging and saving off.

Where TRL leaves a choice that matters for speed or memory every choice races and the best one counts: ``VARIANTS``.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.turns import Turns
from bench.workload import (
    ALPHA,
    COMPLETIONS,
    DPO_PAIRS,
    KL_BETA,
    LEARNING_RATE,
    MAX_TOKENS,
    PROMPTS,
    SFT_ROWS,
    Case,
    reward,
)

VARIANTS: dict[str, tuple[str, ...]] = {
    "rft": ("whole", "split"),
    "sft": ("whole", "split", "padding-free"),
    "dpo": ("whole", "split"),
}
"""whole: one pass per optimizer step. split: passes of TRL's default batch of 8, accumulated. padding-free: TRL's
flattened passes of 8, which want flash attention and run here on a block mask."""
SPLIT = 8


def run(case: Case, folder: Path, turns: Turns, variant: str) -> None:
    """Load, then one optimizer step per turn."""
    import torch
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    trainer = TRAINERS[case.kind](case, folder, variant)

    class Alternate(TrainerCallback):
        """Waits for its turn after every optimizer step."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = not turns.ready()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = not turns.finished()

    trainer.add_callback(Alternate())
    trainer.train()


def _grpo(case: Case, folder: Path, variant: str) -> Any:
    def rewards(completions: list[str], **columns: Any) -> list[float]:
        return [reward(text) for text in completions]

    config = _trl().GRPOConfig(
        **_common(case, folder, variant, PROMPTS * COMPLETIONS),
        num_generations=COMPLETIONS,
        max_completion_length=MAX_TOKENS,
        beta=KL_BETA,
    )
    rows = [{"prompt": row["messages"][0]["content"]} for row in _rows(folder)]
    return _trl().GRPOTrainer(reward_funcs=rewards, args=config, **_ingredients(case, folder, rows))


def _sft(case: Case, folder: Path, variant: str) -> Any:
    flat = {"padding_free": True, "max_length": None} if variant == "padding-free" else {}
    config = _trl().SFTConfig(**_common(case, folder, variant, SFT_ROWS), **flat)
    rows = [
        {"prompt": user["content"], "completion": assistant["content"]}
        for user, assistant in (row["messages"] for row in _rows(folder))
    ]
    return _trl().SFTTrainer(args=config, **_ingredients(case, folder, rows))


def _dpo(case: Case, folder: Path, variant: str) -> Any:
    config = _trl().DPOConfig(**_common(case, folder, variant, DPO_PAIRS), beta=0.1)
    rows = [
        {
            "prompt": row["input"]["messages"][0]["content"],
            "chosen": row["preferred_output"][0]["content"],
            "rejected": row["non_preferred_output"][0]["content"],
        }
        for row in _rows(folder)
    ]
    return _trl().DPOTrainer(args=config, **_ingredients(case, folder, rows))


def _trl() -> Any:
    """Imported when first used, for that takes seconds; typed as Any, for it is not typed itself."""
    return import_module("trl")


TRAINERS = {"rft": _grpo, "sft": _sft, "dpo": _dpo}


def _common(case: Case, folder: Path, variant: str, samples: int) -> dict[str, Any]:
    """Settings that take nothing from the peer: float32 as on our side, and no overhead that we do not have."""
    batch = samples if variant == "whole" else SPLIT
    return {
        "output_dir": str(folder / "peer"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": samples // batch,
        "learning_rate": LEARNING_RATE,
        "num_train_epochs": 1,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": case.seed,
    }


def _ingredients(case: Case, folder: Path, rows: list[dict[str, str]]) -> dict[str, Any]:
    from datasets import Dataset  # type: ignore[import-untyped]
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    lora = LoraConfig(r=case.rank, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    return {
        "model": AutoModelForCausalLM.from_pretrained(folder / "model"),
        "processing_class": PreTrainedTokenizerFast.from_pretrained(folder / "model"),
        "train_dataset": Dataset.from_list(rows),
        "peft_config": lora if case.rank else None,
    }


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
