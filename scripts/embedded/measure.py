"""What the embedded model can do, measured: sums solved from chat prompts, and what the demo makes of it."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.seeds import seed_of
from tunesmith.core.types import SamplingParams
from tunesmith.grading.builtin.numbers import last_number
from tunesmith.services.demo import demo_spec
from tunesmith.services.demo_rows import Sum
from tunesmith.services.engine import Engine, build_engine
from tunesmith.services.worker import start

PLAIN = "What is {a} + {b}?"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One demo run."""

    seed: int
    before: float
    """Held-out reward of the embedded model."""
    after: float
    cpu_s: float
    """Processor seconds, one thread."""


def engine_of(folder: Path) -> Engine:
    return build_engine(folder, lora_rank=4, max_rows=96)


def solved(
    engine: Engine, sums: Iterable[Sum], temperature: float = 0.0, attempts: int = 1, question: str = PLAIN
) -> float:
    """Share of attempts that end with the right sum; temperature 0 is greedy."""
    return asyncio.run(_solved(engine, list(sums), temperature, attempts, question))


async def _solved(engine: Engine, sums: Sequence[Sum], temperature: float, attempts: int, question: str) -> float:
    async def one(a: int, b: int) -> float:
        prompt = engine.renderer.prompt([{"role": "user", "content": question.format(a=a, b=b)}])
        params = SamplingParams(32, temperature, 1.0, 40, (), seed_of("measure", a, b))
        texts = [engine.renderer.decode(c.tokens) for c in await engine.sampler.sample(prompt, params, attempts)]
        return sum(last_number(text, {"ground_truth": a + b}).reward for text in texts) / attempts

    return sum(await asyncio.gather(*(one(a, b) for a, b in sums))) / len(sums)


def run_demo(folder: Path, seed: int, base_model: Path) -> DemoResult:
    """The demo on ``base_model`` instead of the model in the package."""
    began = time.process_time()
    run = start(demo_spec(folder, seed).model_copy(update={"base_model": str(base_model)}))
    rewards = [line["eval/reward_mean"] for line in run.metrics() if "eval/reward_mean" in line]
    return DemoResult(seed, rewards[0], rewards[-1], time.process_time() - began)
