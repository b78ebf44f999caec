"""Conversations to imitate: ``{"messages": [...], "tools": [...], "weight": 1.0}``."""

from typing import Any

from tunesmith.data.messages import read_messages, trainable
from tunesmith.data.near_miss import fields_of, mend_missing
from tunesmith.data.problems import Check
from tunesmith.data.rows import Message, SftRow
from tunesmith.data.tools import read_tools

FIELDS = {"messages", "tools", "weight"}


def parse(check: Check, row: dict[str, Any]) -> tuple[SftRow, ...]:
    """One row, or one per trained assistant turn when the conversation has reasoning."""
    if "messages" not in row:
        check.missing("messages", fields_of(row), mend_missing("sft", row))
        return ()
    messages = _weighted(read_messages(check, "messages", row["messages"]))
    tools = read_tools(check, "tools", row.get("tools"))
    weight = _row_weight(check, row.get("weight"))
    check.ignored.update(set(row) - FIELDS)
    if check.problems:
        return ()
    _check_trained(check, messages)
    reasoned = any("reasoning_content" in message for message in messages)
    parts = _one_per_turn(messages) if reasoned else [messages]
    if len(parts) > 1:
        check.notes.add("conversations with reasoning become one example per assistant turn, earlier reasoning removed")
    return tuple(SftRow(check.line, part, tools, weight) for part in parts)


def _weighted(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Assistant messages are trained unless the file says 0."""
    for message in messages:
        if message["role"] == "assistant":
            message.setdefault("weight", 1)
    return messages


def _row_weight(check: Check, value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        check.refuse("weight", value, "not a number", "Write a finite number, or leave weight out of every row")
        return 1.0
    try:
        return float(value)
    except OverflowError:
        check.refuse("weight", value, "too large", "Write a number near 1")
        return 1.0


def _check_trained(check: Check, messages: tuple[Message, ...]) -> None:
    last = messages[-1]
    if last["role"] != "assistant":
        where = f"messages[{len(messages) - 1}].role"
        mend = "End with the assistant message to learn, or use the rows in an rft job"
        check.refuse(where, last["role"], "the conversation does not end with an assistant message", mend)
    elif not any(_is_trained(message) for message in messages):
        mend = "Give one assistant message weight 1 and text or tool_calls"
        check.refuse("messages", list(messages), "no assistant message to train", mend)


def _is_trained(message: Message) -> bool:
    return message["role"] == "assistant" and message["weight"] == 1 and trainable(message)


def _one_per_turn(messages: tuple[Message, ...]) -> list[tuple[Message, ...]]:
    """Each trained turn with what came before it, without earlier reasoning: what the model sees when it answers."""
    return [(*map(_as_history, messages[:i]), turn) for i, turn in enumerate(messages) if _is_trained(turn)]


def _as_history(message: Message) -> Message:
    if message["role"] != "assistant":
        return message
    return {**{name: value for name, value in message.items() if name != "reasoning_content"}, "weight": 0}
