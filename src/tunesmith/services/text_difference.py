"""What two texts do not have in common, word by word."""

import re
from difflib import SequenceMatcher

MOST_WORDS = 600
"""Longer texts are not compared: it takes a time that grows with the product of their lengths."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def pieces(text: str, other: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether the other text lacks it."""
    words, others = _WORDS.findall(text), _WORDS.findall(other)
    if max(len(words), len(others)) > MOST_WORDS:
        return [(text, False)]
    found = SequenceMatcher(None, others, words, autojunk=False).get_opcodes()
    return [("".join(words[start:end]), kind != "equal") for kind, _, _, start, end in found if end > start]
