"""The cookbook's own DPO loop on a local file of comparisons."""

from typing import Any

from talk import answer
from tinker_cookbook.preference import train_dpo
from tinker_cookbook.preference.dpo_datasets import DPODatasetBuilderFromComparisons
from tinker_cookbook.preference.preference_datasets import ComparisonBuilderFromJsonl
from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig


def main(model: str, renderer: str, comparisons: str, log_path: str, steps: int) -> dict[str, Any]:
    config = train_dpo.Config(
        log_path=log_path,
        model_name=model,
        recipe_name="dpo",
        renderer_name=renderer,
        dataset_builder=DPODatasetBuilderFromComparisons(
            comparison_builder=ComparisonBuilderFromJsonl(train_path=comparisons),
            common_config=ChatDatasetBuilderCommonConfig(
                model_name_for_tokenizer=model, renderer_name=renderer, max_length=512, batch_size=8
            ),
        ),
        learning_rate=2e-3,
        lora_rank=8,
        max_steps=steps,
        eval_every=0,
        infrequent_eval_every=0,
    )
    train_dpo.main(config)
    return {"ended": True}


if __name__ == "__main__":
    answer(main)
