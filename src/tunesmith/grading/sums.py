"""Several scores of one attempt as one."""

from collections.abc import Mapping, Sequence

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError
from tunesmith.core.types import Metrics, Score
from tunesmith.grading.evaluator import Evaluator, RecordedTarget
from tunesmith.grading.verdict import as_score


def weighted_sum(evaluators: Sequence[Evaluator], scores: Sequence[Score]) -> Score:
    """Weighted sum with every part raw and weighted; a lone evaluator without a weight keeps its own score.

    Raises:
        GradingError: `bad_value`, where the sum is no number.
    """
    if len(scores) == 1 and evaluators[0].weight is None:
        return scores[0]
    parts: Metrics = {}
    reward = 0.0
    for evaluator, score in zip(evaluators, scores, strict=True):
        name, weighted = evaluator.name, score.reward * (1.0 if evaluator.weight is None else evaluator.weight)
        parts |= {f"{name}/{part}": value for part, value in score.parts.items()}
        parts |= {name: score.reward, f"{name}/weighted": weighted}
        reward += weighted
    reasons = [f"{e.name}: {s.reason}" for e, s in zip(evaluators, scores, strict=True) if s.reason]
    return as_score(Score(reward, parts, "; ".join(reasons)))


def recorded_score(evaluators: Sequence[Evaluator], scores: Mapping[str, float], where: str) -> Score:
    """The score of an attempt that was judged before.

    Args:
        evaluators: of recorded scores alone.
        where: the attempt, for messages.

    Raises:
        UserError: it lacks one of them, or their sum is no number.
    """
    found = []
    for evaluator in evaluators:
        assert isinstance(evaluator.target, RecordedTarget), "recorded scores are not summed with a grader's"
        name = evaluator.target.score
        if name not in scores:
            raise UserError(f"{where}.evals", f"no score {name!r}", f"It has {', '.join(sorted(scores))}")
        found.append(Score(scores[name]))
    try:
        return weighted_sum(evaluators, found)
    except GradingError as e:
        raise UserError(f"{where}.evals", e.detail, "Give scores and weights of everyday size, such as 1") from None
