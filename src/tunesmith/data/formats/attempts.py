"""Attempts that were made and judged elsewhere: ``{"samples": [{"messages": [...], "evals": {"score": 1}}, ...]}``."""

from typing import Any

from tunesmith.data.messages import read_messages
from tunesmith.data.problems import Check
from tunesmith.data.rows import Attempt, Message

SHAPE = '{"messages": [..., {"role": "assistant", "content": "..."}], "evals": {"score": 1.0}}'


def read_attempts(check: Check, field: str, value: Any) -> tuple[tuple[Message, ...], tuple[Attempt, ...]]:
    """(what all attempts have in common: their prompt, the attempts); what is wrong goes to check."""
    if not isinstance(value, list) or not value:
        check.refuse(field, value, "not a list of attempts", f"Write at least two, each as {SHAPE}")
        return (), ()
    attempts = tuple(_read(check, f"{field}[{i}]", one) for i, one in enumerate(value))
    if check.problems:
        return (), ()
    length = _length_of_prompt([attempt.messages for attempt in attempts])
    if not length:
        mend = "Give each prompt a row of its own: attempts are compared within a row"
        check.refuse(field, value, "attempts that do not answer the same prompt", mend)
    return attempts[0].messages[:length], attempts


def _read(check: Check, field: str, value: Any) -> Attempt:
    if not isinstance(value, dict):
        check.refuse(field, value, "not an attempt", f"Write {SHAPE}")
        return Attempt((), {})
    messages = read_messages(check, f"{field}.messages", value.get("messages"))
    if messages and messages[-1]["role"] != "assistant":
        mend = "End it with what the assistant said or called, even if it is empty"
        check.refuse(f"{field}.messages", value["messages"], "an attempt without an answer", mend)
    return Attempt(messages, _scores(check, f"{field}.evals", value.get("evals")))


def _scores(check: Check, field: str, value: Any) -> dict[str, float]:
    """The numbers among what was said of an attempt; reasons and the like stay in the file."""
    given = value if isinstance(value, dict) else {}
    numbers = {name: v for name, v in given.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if not numbers:
        check.refuse(field, value, "no score", 'Write {"score": 1.0}, and other scores beside it if there are')
    scores = {}
    for name, number in numbers.items():
        try:
            scores[name] = float(number)
        except OverflowError:
            check.refuse(f"{field}.{name}", number, "too large", "Write a score of everyday size, such as 1")
    return scores


def _length_of_prompt(conversations: list[tuple[Message, ...]]) -> int:
    """Messages that all begin with, up to a turn of the assistant; 0 where they have no prompt in common."""
    shortest = min(conversations, key=len)
    same = 0
    while same < len(shortest) - 1 and all(messages[same] == shortest[same] for messages in conversations):
        same += 1
    for length in range(same, 0, -1):
        if all(messages[length]["role"] == "assistant" for messages in conversations):
            return length
    return 0
