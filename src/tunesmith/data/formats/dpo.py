"""Preference pairs: ``{"input": {"messages", "tools"}, "preferred_output": [...], "non_preferred_output": [...]}``."""

from typing import Any

from tunesmith.data.messages import check_prompt_end, read_message, read_messages, trainable, without_weights
from tunesmith.data.near_miss import fields_of, mend_missing
from tunesmith.data.problems import Check
from tunesmith.data.rows import DpoRow, Message
from tunesmith.data.tools import read_tools

OUTPUTS = ("preferred_output", "non_preferred_output")
ONE_ANSWER = 'Write a list of one message, as [{"role": "assistant", "content": "..."}]'


def parse(check: Check, row: dict[str, Any]) -> tuple[DpoRow, ...]:
    """One pair."""
    missing = next((name for name in ("input", *OUTPUTS) if row.get(name) is None), None)
    if missing:
        check.missing(missing, fields_of(row), mend_missing("dpo", row))
        return ()
    messages, tools = _read_input(check, row["input"])
    answers = [_read_answer(check, name, row[name]) for name in OUTPUTS]
    preferred, rejected = answers
    if row.get("tools"):
        check.refuse("tools", row["tools"], "tools outside input", "Move tools into input, beside messages")
    check.ignored.update(set(row) - {"input", "tools", *OUTPUTS})
    if check.problems or preferred is None or rejected is None:
        return ()
    if _said(preferred) == _said(rejected):
        mend = "Remove the row, or give it two different answers"
        check.refuse(OUTPUTS[1], rejected["content"], "the same answer as preferred_output", mend)
    return (DpoRow(check.line, messages, tools, preferred, rejected),)


def _read_input(check: Check, value: Any) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    if not isinstance(value, dict):
        check.refuse("input", value, "not an object with messages", 'Write {"messages": [...], "tools": []}')
        return (), ()
    if "messages" not in value:
        check.missing("input.messages", fields_of(value), 'Write {"messages": [...], "tools": []}')
        return (), ()
    messages = read_messages(check, "input.messages", value["messages"])
    check_prompt_end(check, "input.messages", messages)
    check.ignored.update(f"input.{name}" for name in set(value) - {"messages", "tools"})
    return without_weights(check, messages), read_tools(check, "input.tools", value.get("tools"))


def _read_answer(check: Check, field: str, value: Any) -> Message | None:
    if not isinstance(value, list) or len(value) != 1:
        check.refuse(field, value, "not a list of exactly one assistant message", ONE_ANSWER)
        return None
    message = read_message(check, f"{field}[0]", value[0])
    if message is None:
        return None
    if message["role"] != "assistant":
        check.refuse(f"{field}[0].role", message["role"], "not an assistant message", ONE_ANSWER)
    elif not trainable(message):
        check.refuse(
            f"{field}[0].content", message["content"], "an empty answer", "Write the answer, or remove the row"
        )
    return without_weights(check, [message])[0]


def _said(answer: Message) -> tuple[Any, ...]:
    """What sets two answers apart, call ids aside."""
    calls = [call["function"] for call in answer.get("tool_calls", ())]
    return answer["content"], answer.get("reasoning_content"), calls
