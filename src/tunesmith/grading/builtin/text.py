"""Graders that look at the text alone. All take linear time, so they run in the event loop without a process."""

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import true_texts


def exact_match(completion: str, row: Row, *, field: str = "", ignore_case: bool = False) -> float:
    """1 when the completion, without surrounding white space, is the row's answer or one of them."""
    said = _folded(completion.strip(), ignore_case)
    return float(any(said == _folded(option.strip(), ignore_case) for option in true_texts(row, field)))


def contains(completion: str, row: Row, *, field: str = "", ignore_case: bool = False) -> float:
    """1 when the row's answer, or one of them, stands anywhere in the completion."""
    said = _folded(completion, ignore_case)
    return float(any(_folded(option.strip(), ignore_case) in said for option in true_texts(row, field)))


def tagged_format(completion: str, row: Row, *, answer: bool = False) -> Score:
    """1 for `<think>...</think>` and then text; with `answer=true`, then exactly one `<answer>...</answer>`."""
    said = completion.strip()
    problem = _think_problem(said)
    rest = said.partition("</think>")[2].strip()
    if not problem and not rest:
        problem = "nothing after </think>"
    whole = rest.startswith("<answer>") and rest.endswith("</answer>")
    if not problem and answer and not (whole and rest.count("<answer>") == rest.count("</answer>") == 1):
        problem = "what follows </think> is not one <answer>...</answer>"
    return Score(float(not problem), reason=problem)


def length(
    completion: str,
    row: Row,
    *,
    target: int = 0,
    max: int = 0,
    cache: int = 0,
    unit: str = "words",
    num_tokens: int = 0,
) -> Score:
    """How close the length comes to `target` (argument, or the row's `target_length`): 1 - |length - target| / target.

    With `max` instead, a penalty for length alone (DAPO 2503.14476): 0 up to `max - cache`, then falling to -1 at
    `max`. `unit` is words, characters or tokens.
    """
    counts = {"words": len(completion.split()), "characters": len(completion), "tokens": num_tokens}
    if unit not in counts:
        raise GradingError("bad_row", f"unit is {unit!r}; length knows {', '.join(counts)}")
    count = counts[unit]
    if max:
        return Score(overlong_penalty(count, max, cache), reason=f"{count} {unit}")
    wanted = target or row.get("target_length")
    if not isinstance(wanted, int | float) or wanted <= 0:
        raise GradingError("bad_row", f"needs target_length > 0; the row has {', '.join(row) or 'no fields'}")
    closeness = 1 - abs(count - wanted) / wanted
    return Score(closeness if closeness > 0 else 0.0, reason=f"{count} {unit}, wanted {wanted:g}")


def overlong_penalty(count: int, maximum: int, cache: int) -> float:
    """0 below maximum - cache, -1 above maximum, a straight line between."""
    if count <= maximum - cache:
        return 0.0
    return -1.0 if count > maximum else (maximum - cache - count) / cache


def repetition(completion: str, row: Row, *, ngram: int = 3, penalty: float = 1.0) -> Score:
    """-penalty x the share of word n-grams that occurred before: 0 when none repeats. A part of a sum, not a goal."""
    words = completion.split()
    total = len(words) - ngram + 1
    if ngram < 1 or total < 1:
        return Score(0.0)
    unique = len({tuple(words[i : i + ngram]) for i in range(total)})
    return Score(-penalty * (1 - unique / total), reason=f"{unique} of {total} {ngram}-grams differ")


def _think_problem(said: str) -> str:
    if not said.startswith("<think>"):
        return "does not start with <think>"
    for tag in ("<think>", "</think>"):
        if said.count(tag) != 1:
            return f"{said.count(tag)} times {tag}"
    return ""


def _folded(text: str, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text
