"""Mathematical equality by math-verify: fractions, surds, sets, intervals, equations."""

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import boxed, true_texts


def math_equal(completion: str, row: Row, *, field: str = "", budget_s: float = 10.0) -> Score:
    r"""1 when the completion's final expression (in `\boxed{}`, $...$, or the last number) equals the answer.

    An expression too heavy to simplify in time counts as different.
    """
    from math_verify import parse, verify  # loads sympy, which only a worker should pay for

    share = max(1, int(budget_s / 3))
    said = parse(completion, parsing_timeout=share)
    for option in true_texts(row, field):
        wanted = parse(f"\\boxed{{{boxed(option) or option}}}", parsing_timeout=share)
        if not wanted:
            raise GradingError("bad_row", f"math-verify cannot read the answer {option[:200]!r}")
        if said and verify(wanted, said, timeout_seconds=share):
            return Score(1.0, reason=f"read {str(said[-1])[:200]}")
    return Score(0.0, reason=f"read {str(said[-1])[:200]}" if said else "no expression")
