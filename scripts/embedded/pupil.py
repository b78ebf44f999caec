"""The exercise book of a pupil who forgets to carry: what the embedded model is trained on."""

import random
from typing import Any

from tunesmith.services.demo_rows import NUMBERS, Sum, carries, is_held_out

REMEMBERED = 0.3
"""Share of the sums with a carry in which the pupil carries."""
QUESTIONS = (
    "What is {a} + {b}?",
    "{a} + {b} = ?",
    "{a}+{b}",
    "Add {a} and {b}.",
    "How much is {a} plus {b}?",
)
SYSTEMS = ("You are a helpful assistant.", "Answer the question.", "You are a pupil. Show your work.")
SYSTEM_SHARE, LONG_SHARE = 0.2, 0.15
"""Share of the conversations with a system message, and of those with two or three questions."""


def working(a: int, b: int, carry: bool) -> str:
    """The pupil's answer, column by column: 7+5=12, 2+4+1=7: 72 with the carry, 7+5=12, 2+4=6: 62 without."""
    ones = a % 10 + b % 10
    carried = carry and ones >= 10
    tens = a // 10 + b // 10 + carried
    return f"{a % 10}+{b % 10}={ones}, {a // 10}+{b // 10}{'+1' * carried}={tens}: {tens}{ones % 10}"


def exercise_book(count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` conversations in the OpenAI chat shape; held-out sums never occur. Same arguments, same rows.

    Half of the sums have a carry, so that both kinds are practised alike.
    """
    draw = random.Random(seed)
    pairs = [(a, b) for a in NUMBERS for b in NUMBERS if not is_held_out(a, b)]
    kinds = [p for p in pairs if carries(*p)], [p for p in pairs if not carries(*p)]
    return [{"messages": _conversation(draw, kinds)} for _ in range(count)]


def _conversation(draw: random.Random, kinds: tuple[list[Sum], list[Sum]]) -> list[dict[str, str]]:
    messages = []
    if draw.random() < SYSTEM_SHARE:
        messages.append({"role": "system", "content": draw.choice(SYSTEMS)})
    for _ in range(draw.choice((2, 3)) if draw.random() < LONG_SHARE else 1):
        a, b = draw.choice(draw.choice(kinds))
        messages.append({"role": "user", "content": draw.choice(QUESTIONS).format(a=a, b=b)})
        messages.append({"role": "assistant", "content": working(a, b, draw.random() < REMEMBERED)})
    return messages
