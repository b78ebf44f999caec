"""Tool definitions and tool calls in the OpenAI function shape."""

from typing import Any

from tunesmith.data.json_text import BadJson, decode
from tunesmith.data.problems import Check
from tunesmith.data.rows import Tool

SHAPE = 'Write {"type": "function", "function": {"name": "...", "parameters": {...}}}'
CALL = 'Write {"type": "function", "function": {"name": "...", "arguments": "{...}"}}'


def read_tools(check: Check, field: str, value: Any) -> tuple[Tool, ...]:
    """The functions a row offers, as they are; what is wrong goes to check."""
    if value is None:
        return ()
    if not isinstance(value, list):
        problem = "JSON text, not a list" if isinstance(value, str) else "not a list of tools"
        check.refuse(field, value, problem, f"Write the list itself. {SHAPE}")
        return ()
    return tuple(tool for i, tool in enumerate(value) if _is_tool(check, f"{field}[{i}]", tool))


def read_tool_calls(check: Check, field: str, value: Any) -> tuple[dict[str, Any], ...]:
    """The calls of an assistant message, their arguments as objects."""
    if value is None:
        return ()
    if not isinstance(value, list):
        check.refuse(field, value, "not a list of tool calls", CALL)
        return ()
    calls = (_read_call(check, f"{field}[{i}]", call) for i, call in enumerate(value))
    return tuple(call for call in calls if call is not None)


def _is_tool(check: Check, field: str, tool: Any) -> bool:
    if not isinstance(tool, dict):
        check.refuse(field, tool, "not a tool", SHAPE)
        return False
    function = tool.get("function")
    if tool.get("type") != "function":
        mend = f"{SHAPE}, the name inside function" if "name" in tool else SHAPE
        check.refuse(f"{field}.type", tool.get("type"), "not a function tool", mend)
    elif not isinstance(function, dict):
        check.refuse(f"{field}.function", function, "not a function", SHAPE)
    elif not isinstance(function.get("name"), str) or not function["name"]:
        check.refuse(f"{field}.function.name", function.get("name"), "no function name", SHAPE)
    elif not isinstance(function.get("parameters", {}), dict | None):
        check.refuse(f"{field}.function.parameters", function["parameters"], "not a JSON schema", SHAPE)
    elif not isinstance(function.get("description", ""), str | None):
        check.refuse(f"{field}.function.description", function["description"], "not text", "Write it as text")
    else:
        return True
    return False


def _read_call(check: Check, field: str, call: Any) -> dict[str, Any] | None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        check.refuse(field, call, "not a tool call", CALL)
        return None
    name, kind, identity = function.get("name"), call.get("type", "function"), call.get("id")
    if kind != "function":
        check.refuse(f"{field}.type", kind, "not a function call", CALL)
    if not isinstance(name, str) or not name:
        check.refuse(f"{field}.function.name", name, "no function name", CALL)
    if identity is not None and not isinstance(identity, str):
        check.refuse(f"{field}.id", identity, "not text", "Write the id as text, or leave it out")
    arguments = _arguments(check, f"{field}.function.arguments", function.get("arguments"))
    named = {"id": identity} if identity is not None else {}
    return {**named, "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(check: Check, field: str, value: Any) -> dict[str, Any]:
    """Chat templates want an object; the OpenAI shape has its JSON text."""
    if isinstance(value, dict):
        return value
    mend = 'Write the arguments as JSON text of an object, such as "{}" or "{\\"city\\": \\"Paris\\"}"'
    if not isinstance(value, str):
        check.refuse(field, value, "not JSON text of an object", mend)
        return {}
    try:
        arguments = decode(value)
    except BadJson as e:
        check.refuse(field, value, f"not JSON text of an object ({e.field}: {e.problem})", mend)
        return {}
    if not isinstance(arguments, dict):
        check.refuse(field, value, "JSON text, but not of an object", mend)
        return {}
    return arguments
