"""Models that grade, asked outside the processes of graders: what is asked is text, and no code of a user runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError, Judge
from tunesmith.core.types import Metrics, Row, Score
from tunesmith.grading.composed import judged
from tunesmith.grading.composed.judged import CALLS, TOKENS, Verdict
from tunesmith.grading.evaluator import ComposedTarget, Evaluator, Target


def models_of(evaluators: Sequence[Evaluator]) -> list[tuple[str, str]]:
    """(model, base model) of every grader that asks one, each once, as the graders name them."""
    targets = [e.target for e in evaluators if isinstance(e.target, ComposedTarget)]
    parts = [part for target in targets for part in judged.parts_of(target.grader).values()]
    return list(dict.fromkeys((part["model"], part.get("base_model", "")) for part in parts))


async def asked(target: Target, completion: str, row: Row, judge: Judge | None) -> dict[str, Verdict]:
    """What models say of an attempt, by the names that a formula has for them; nothing where none is asked.

    Raises:
        GradingError: a row or completion without what the question names, or an answer without a result.
    """
    parts = judged.parts_of(target.grader) if isinstance(target, ComposedTarget) else {}
    if not parts:
        return {}
    assert judge is not None, "whoever builds graders that ask models gives them a judge"
    questions = [judged.question(part, completion, row) for part in parts.values()]
    try:
        answers = await asyncio.gather(*map(judge, questions))
    except UserError as e:
        raise GradingError("judge", str(e)) from None
    verdicts = [judged.verdict(part, answer) for part, answer in zip(parts.values(), answers, strict=True)]
    return dict(zip(parts, verdicts, strict=True))


def told(score: Score, verdicts: Mapping[str, Verdict]) -> Score:
    """The score with what the models said, and what asking them took."""
    if not verdicts:
        return score
    parts: Metrics = dict(score.parts)
    for name, verdict in verdicts.items():
        parts |= {f"{name}/{part}" if name else part: value for part, value in verdict.parts.items()}
    parts |= {CALLS: float(len(verdicts)), TOKENS: float(sum(v.tokens for v in verdicts.values()))}
    reasons = [f"{name}: {v.reason}" if name else v.reason for name, v in verdicts.items() if v.reason]
    return replace(score, parts=parts, reason="; ".join([score.reason, *reasons] if score.reason else reasons))
