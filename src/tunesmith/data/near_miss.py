"""Rows in the shapes of other tools: which shape it is, and how to write it in ours."""

from difflib import get_close_matches
from typing import Any

PROMPTS = ("prompt", "question", "user_query", "original_query", "instruction", "problem", "query", "task", "input")
ANSWERS = ("completion", "response", "output", "answer", "target", "solution", "instances", "query")
PAIRS = ("chosen_messages", "rejected_messages", "chosen", "rejected", "preferred_output", "non_preferred_output")
SHAREGPT = ("conversations", "conversation")

SFT_SHAPE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
RFT_SHAPE = '{"messages": [{"role": "user", "content": "..."}]}'
DPO_SHAPE = (
    '{"input": {"messages": [{"role": "user", "content": "..."}]}, '
    '"preferred_output": [{"role": "assistant", "content": "..."}], '
    '"non_preferred_output": [{"role": "assistant", "content": "..."}]}'
)
RENAME_SHAREGPT = (
    "Rename '{}' to 'messages', 'from' to 'role' (human is user, gpt is assistant) and 'value' to 'content'"
)
TO_PAIRS = (
    "Put the prompt of '{0}' and '{1}' in input.messages, the last assistant message of '{0}' in "
    "preferred_output and that of '{1}' in non_preferred_output, each as a list of one message"
)


def mend_missing(kind: str, row: dict[str, Any]) -> str:
    """What to do about a row of this kind that lacks its main field."""
    mends = {"sft": _mend_sft, "rft": _mend_rft, "dpo": _mend_dpo}
    return mends[kind](row)


def fields_of(row: dict[str, Any]) -> str:
    """The names a row has, for a message about the one it lacks."""
    names = [name[:40] for name in list(row)[:8]] + ["…"] * (len(row) > 8)
    return f"only {', '.join(names)}" if row else "an empty object"


def _mend_sft(row: dict[str, Any]) -> str:
    if (other := _same_for_messages(row)) is not None:
        return other
    prompt = next((name for name in PROMPTS if name in row), None)
    answer = next((name for name in ANSWERS if name in row and name != prompt), None)
    if prompt is None and "text" in row:
        return f"Plain text has no turns: split 'text' into what is asked and what is answered, as {SFT_SHAPE}"
    if prompt is None:
        return f"Write {SFT_SHAPE}"
    answered = f"'{answer}'" if answer else "the answer"
    return f"Write '{prompt}' as the user's content and {answered} as the assistant's: {SFT_SHAPE}"


def _mend_rft(row: dict[str, Any]) -> str:
    if (other := _same_for_messages(row)) is not None:
        return other
    prompt = next((name for name in (*PROMPTS, "text") if isinstance(row.get(name), str)), None)
    if prompt is None:
        return f"Add 'prompt' (text), or messages, as {RFT_SHAPE}; other fields go to the grader as they are"
    return f"Rename '{prompt}' to 'prompt', or write it as {RFT_SHAPE}; other fields go to the grader as they are"


def _mend_dpo(row: dict[str, Any]) -> str:
    for better, worse in zip(PAIRS[::2], PAIRS[1::2], strict=True):
        if better in row and worse in row and better != "preferred_output":
            return f"{TO_PAIRS.format(better, worse)}: {DPO_SHAPE}"
    return f"Write {DPO_SHAPE}"


def _same_for_messages(row: dict[str, Any]) -> str | None:
    """Near misses that mean the same for sft and rft."""
    for name in SHAREGPT:
        if name in row:
            return RENAME_SHAREGPT.format(name)
    if any(name in row for name in PAIRS):
        return f"This is a preference row: run a dpo job with it. {_mend_dpo(row)}"
    if listed := next((name for name, value in row.items() if _looks_like_messages(value)), None):
        return f"Rename '{listed}' to 'messages'"
    lowered = {name.lower(): name for name in row}
    near = get_close_matches("messages", lowered, n=1, cutoff=0.8)
    return f"Rename '{lowered[near[0]]}' to 'messages'" if near else None


def _looks_like_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)
