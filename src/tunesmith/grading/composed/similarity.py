"""How alike two texts are, from 0 to 1."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

_WORD = re.compile(r"\w+")


def fuzzy_match(text: str, reference: str) -> float:
    """Share of characters that stay when one text is edited into the other."""
    from rapidfuzz.fuzz import ratio

    return float(ratio(text, reference)) / 100


def gleu(text: str, reference: str) -> float:
    """Common runs of 1 to 4 words: the smaller of precision and recall (1609.08144)."""
    ours, theirs = _runs(_words(text), range(1, 5)), _runs(_words(reference), range(1, 5))
    most = max(ours.total(), theirs.total())
    return (ours & theirs).total() / most if most else float(text.strip() == reference.strip())


def rouge_n(n: int, text: str, reference: str) -> float:
    """F1 of common runs of n words."""
    ours, theirs = _runs(_words(text), [n]), _runs(_words(reference), [n])
    both = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / both if both else 0.0


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    from rapidfuzz.distance import LCSseq

    ours, theirs = _words(text), _words(reference)
    both = len(ours) + len(theirs)
    return 2 * LCSseq.similarity(ours, theirs) / both if both else 0.0


METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "gleu": gleu,
    **{f"rouge_{n}": partial(rouge_n, n) for n in range(1, 6)},
    "rouge_l": rouge_l,
}
REFUSED = {
    "bleu": "is defined for a whole corpus, not for one text; gleu is its like for one",
    "meteor": "needs a dictionary of synonyms, which is not there",
    "cosine": "needs a model of embeddings, which is not there",
}
"""Metric that others have -> why it is not here."""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: Sequence[str], lengths: Sequence[int]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1))
