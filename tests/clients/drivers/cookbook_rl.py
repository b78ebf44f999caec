"""The cookbook's own RL loop on its arithmetic problems, with whatever else of its settings is given."""

import asyncio
from typing import Any

from talk import answer
from tinker_cookbook.recipes.math_rl.arithmetic_env import ArithmeticDatasetBuilder
from tinker_cookbook.rl.train import Config, KLReferenceConfig
from tinker_cookbook.rl.train import main as train


def main(
    model: str,
    renderer: str,
    log_path: str,
    steps: int,
    groups: int,
    group_size: int,
    max_tokens: int,
    learning_rate: float,
    kl: float = 0.0,
    **settings: Any,
) -> dict[str, Any]:
    config = Config(
        model_name=model,
        renderer_name=renderer,
        recipe_name="arithmetic",
        log_path=log_path,
        dataset_builder=ArithmeticDatasetBuilder(
            batch_size=groups,
            model_name_for_tokenizer=model,
            renderer_name=renderer,
            n_batches=100,
            group_size=group_size,
            include_fewshot=False,
        ),
        max_tokens=max_tokens,
        learning_rate=learning_rate,
        max_steps=steps,
        kl_penalty_coef=kl,
        kl_discount_factor=0.9 if kl else 0.0,
        kl_reference_config=KLReferenceConfig(base_model=model) if kl else None,
        eval_every=0,
        save_every=0,
        lora_rank=8,
        **settings,
    )
    asyncio.run(train(config))
    return {"ended": True}


if __name__ == "__main__":
    answer(main)
