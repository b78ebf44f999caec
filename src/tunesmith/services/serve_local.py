"""Use what was trained, in this process: chat with it, and score it on held-out rows."""

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.core.types import Completion, SamplingParams
from tunesmith.recipes.evaluate import evaluate
from tunesmith.services import names
from tunesmith.services.card import mean_interval
from tunesmith.services.engine import Engine, build_engine
from tunesmith.services.jobs.evaluations import check_judges
from tunesmith.services.prepare import prepare_rft
from tunesmith.services.rollers import roller_of
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import RftSpec, build_spec


def open_tuned(name: str) -> Engine:
    """The engine of a run, adapter or model folder, or of `embedded`, with its weights loaded for sampling.

    Raises:
        NotFound: nothing of that name.
    """
    base, adapter = names.tuned(Path(name))
    rank, head = (8, False) if adapter is None else names.adapter_shape(adapter)
    engine = build_engine(base, lora_rank=rank, lora_head=head, warm_start=adapter)
    asyncio.run(engine.sampler.load(engine.trainer.save_weights_for_sampler(name)))
    return engine


def chat(engine: Engine, messages: list[dict[str, Any]], params: SamplingParams) -> tuple[str, Completion]:
    """The next assistant turn."""
    prompt = engine.renderer.prompt(messages)
    completion = asyncio.run(engine.sampler.sample(prompt, params, 1))[0]
    return engine.renderer.decode(completion.tokens), completion


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Score of a model on held-out rows."""

    model: str
    reward_mean: float
    reward_ci95: tuple[float, float] | None
    """95% interval of the mean over rows; None for fewer than two rows."""
    rows: int
    samples: int
    """Responses per row."""
    failed_share: float
    truncated_share: float
    length_mean: float
    """Tokens per response."""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_model(name: str, settings: dict[str, Any]) -> Evaluation:
    """Sample every row of a dataset and grade it.

    Args:
        name: run, model or adapter folder, or `embedded`.
        settings: RFT settings by name; those of the run are the defaults where name is a run.
    """
    began = time.perf_counter()
    known = RunFolder.open(name).spec() if (Path(name) / "spec.yaml").is_file() else {}
    base = known if known.get("kind") == "rft" else {"base_model": "embedded"}
    wanted = {**base, **settings, "kind": "rft", "eval_auto_carveout": False, "evaluation_dataset": None}
    for needed in ("dataset", "evaluator"):
        if needed not in wanted:
            raise UserError(needed, f"not known: {name} is no rft run that has one", f"Give --{needed}")
    spec = build_spec(wanted)
    assert isinstance(spec, RftSpec), "kind is rft"
    check_judges(spec)
    engine = open_tuned(name)
    prompts = prepare_rft(spec, engine.renderer, engine.model.config.max_positions)

    async def score() -> Any:
        async with roller_of(spec, engine) as roller:
            return await evaluate(spec, prompts.train, roller)

    metrics, log = asyncio.run(score())
    per_row = [[r.score.reward for r in g.rollouts if r.score] for g in log.groups]
    means = [fmean(rewards) for rewards in per_row if rewards]
    if not means:
        raise UserError("evaluator", "every grading failed", "Try it: tunesmith evaluator test")
    return Evaluation(
        model=name,
        reward_mean=fmean(means),
        reward_ci95=mean_interval(means),
        rows=len(log.groups),
        samples=spec.eval_samples,
        failed_share=metrics["eval/failed_share"],
        truncated_share=metrics["eval/truncated_share"],
        length_mean=metrics["eval/length_mean"],
        seconds=time.perf_counter() - began,
    )
