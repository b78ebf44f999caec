"""``tool_choice``: whether a reply has to be a call, and of which function. It is enforced while the reply is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.errors import UserError, unknown
from tunesmith.server.dialects.openai.requests import ChatRequest

WHERE = "tool_choice"
FREE, ANY = ("auto", "none"), ("required", "any")


def forced(given: ChatRequest) -> Sequence[Mapping[str, Any]]:
    """The functions of which one has to be called; none where the model may choose.

    Raises:
        UserError: another choice, a function that is not there, or a reply that would have to be something else too.
    """
    choice = given.tool_choice
    if choice in FREE:
        if choice == "auto" and given.tools and not given.parallel_tool_calls:
            problem = "is false, which is enforced only where a call is"
            raise UserError("parallel_tool_calls", problem, "Set tool_choice to required, or to a function")
        return ()
    tools = _named(given.tools)
    if choice not in ANY and not (isinstance(choice, dict) and choice.get("type") == "function"):
        mend = 'Use auto, none, required or {"type": "function", "function": {"name": ...}}'
        raise UserError(WHERE, f"can't be {choice!r:.60}", mend)
    if not tools:
        raise UserError(WHERE, "asks for a call, and there are no tools", "Send tools, or leave it out")
    if given.response_format is not None and given.response_format.get("type") != "text":
        raise UserError(WHERE, "asks for a call, and response_format for something else", "Leave one of them out")
    if choice in ANY:
        return list(tools.values())
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if name not in tools:
        raise unknown(WHERE, str(name)[:100], tools)
    return [tools[name]]


def _named(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """
    Raises:
        UserError: a tool that is no function with a name, or parameters that are no schema.
    """
    found = {}
    for i, tool in enumerate(tools):
        function: Any = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not isinstance(function.get("parameters", {}), dict | type(None)):
            problem = "is no function with a name and a schema of parameters"
            raise UserError(f"tools[{i}]", problem, 'Write {"type": "function", "function": {"name": ...}}')
        found[name] = tool
    return found
