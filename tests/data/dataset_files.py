"""Small good rows of each kind, and a file to put rows in."""

import copy
import json
from pathlib import Path
from typing import Any

USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}

SFT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "2+2?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": "It is 4.", "weight": 1},
    ],
    "tools": [TOOL],
}
DPO = {
    "input": {"messages": [USER], "tools": []},
    "preferred_output": [ASSISTANT],
    "non_preferred_output": [{"role": "assistant", "content": "5"}],
}
RFT = {"id": "sum-1", "messages": [USER], "ground_truth": "4"}
GOOD = {"sft": SFT, "dpo": DPO, "rft": RFT}


def good(kind: str, **changes: Any) -> dict[str, Any]:
    """A good row with root fields changed; a field given as ... is removed."""
    row = copy.deepcopy(GOOD[kind]) | changes
    return {name: value for name, value in row.items() if value is not ...}


def said(*messages: dict[str, Any], **root: Any) -> dict[str, Any]:
    """An SFT row of these messages."""
    return {"messages": list(messages), **root}


def write(path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    """One line per row; text and bytes go in as they are."""
    encoded = [line if isinstance(line, bytes) else _text(line).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in encoded))
    return path


def _text(line: dict[str, Any] | str) -> str:
    return line if isinstance(line, str) else json.dumps(line)
