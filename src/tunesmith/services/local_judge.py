"""Models that grade in a job's own process: beside the policy, on weights that never change while it trains."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from tunesmith.core.ports import Answer, Question
from tunesmith.core.types import Completion, Ints, SamplingParams
from tunesmith.grading.evaluator import parse_evaluators
from tunesmith.grading.judging import models_of
from tunesmith.services import names
from tunesmith.services.judging import answered
from tunesmith.services.sessions.workbench import Workbench


def judge_of(evaluator: str | Sequence[str]) -> "LocalJudge | None":
    """The models that an evaluator asks, loaded; None where it asks none.

    Raises:
        NotFound, UserError: a folder that holds no model; or what ``parse_evaluators`` refuses.
    """
    asked = models_of(parse_evaluators(evaluator))
    return LocalJudge(asked) if asked else None


class LocalJudge:
    """Each base model is in memory once, whatever adapters on it are asked."""

    def __init__(self, models: Iterable[tuple[str, str]]) -> None:
        """
        Args:
            models: (model, base model) as ``Question`` has them.
        """
        threads = torch.get_num_threads()
        self._folders = {pair: _folders(*pair) for pair in models}
        self._benches = {base: Workbench(base) for base in dict.fromkeys(base for base, _ in self._folders.values())}
        # A large judge may not change how its small policy adds up.
        torch.set_num_threads(threads)

    async def __call__(self, question: Question) -> Answer:
        base, adapter = self._folders[question.model, question.base_model]
        bench = self._benches[base]

        async def draw(prompt: Ints, params: SamplingParams) -> Completion:
            sampled = await bench.sample("" if adapter is None else str(adapter), adapter, prompt, params, 1, None)
            return sampled.completions[0]

        return await answered(question, bench.renderer, bench.model.config.max_positions, draw)


def _folders(model: str, base_model: str) -> tuple[Path, Path | None]:
    return (Path(base_model), Path(model)) if base_model else names.tuned(Path(model))
