"""Prompts to attempt: ``{"messages": [...]}`` or ``{"prompt": ...}``, with any other fields for the grader.

In their place ``{"samples": [...]}``: attempts at one prompt, made and judged before.
"""

from typing import Any

from tunesmith.data.formats.attempts import read_attempts
from tunesmith.data.messages import check_prompt_end, read_messages, without_weights
from tunesmith.data.near_miss import fields_of, mend_missing
from tunesmith.data.problems import Check
from tunesmith.data.rows import RftRow
from tunesmith.data.tools import read_tools


def parse(check: Check, row: dict[str, Any]) -> tuple[RftRow, ...]:
    """One prompt. Rows saved by an evaluation may end with the answer of that time, which is not part of the prompt."""
    field = "messages" if "messages" in row or "prompt" not in row else "prompt"
    if field not in row and "samples" in row:
        return _with_attempts(check, row)
    if field not in row:
        check.missing(field, fields_of(row), mend_missing("rft", row))
        return ()
    prompt = _without_answer(check, _as_messages(field, row[field]))
    messages = read_messages(check, field, prompt)
    tools = read_tools(check, "tools", row.get("tools"))
    if not check.problems:
        check_prompt_end(check, field, messages)
    return (RftRow(check.line, _prompt_id(check.line, row), without_weights(check, messages), tools, row),)


def _with_attempts(check: Check, row: dict[str, Any]) -> tuple[RftRow, ...]:
    messages, attempts = read_attempts(check, "samples", row["samples"])
    tools = read_tools(check, "tools", row.get("tools"))
    prompt = tuple({name: value for name, value in message.items() if name != "weight"} for message in messages)
    return (RftRow(check.line, _prompt_id(check.line, row), prompt, tools, row, attempts),)


def _as_messages(field: str, value: Any) -> Any:
    text = field == "prompt" and isinstance(value, str)
    return [{"role": "user", "content": value}] if text else value


def _without_answer(check: Check, value: Any) -> Any:
    """The answer goes unread, for a failed attempt of that time may be no legal message."""
    if not isinstance(value, list):
        return value
    end = len(value)
    while end > 1 and isinstance(value[end - 1], dict) and value[end - 1].get("role") == "assistant":
        end -= 1
    if end < len(value):
        check.notes.add("a trailing assistant message is earlier output: it is left out of the prompt")
    return value[:end]


def _prompt_id(line: int, row: dict[str, Any]) -> str:
    """The row's own name, so that metrics and rollouts can be matched to it."""
    metadata = row.get("input_metadata")
    inside = metadata.get("row_id") if isinstance(metadata, dict) else None
    for name in (row.get("id"), row.get("prompt_id"), inside):
        if isinstance(name, str | int) and not isinstance(name, bool) and name != "":
            return str(name)
    return f"row-{line}"
