"""Messages in the OpenAI chat shape: checked, and made plain for chat templates. Used by every format."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.problems import Check
from tunesmith.data.rows import Message
from tunesmith.data.tools import read_tool_calls

FOLLOWS: dict[str, tuple[str, ...]] = {
    "system": ("the start",),
    "user": ("the start", "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
"""Which messages each role may come after."""

SYNONYMS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}
SYNONYMS |= {"developer": "system", "function": "tool", "observation": "tool", "chatgpt": "assistant"}

KNOWN = {"role", "content", "name", "tool_call_id", "tool_calls", "reasoning_content", "weight"}
RENAMES = {
    "loss_weight": "Rename it to weight, and write 0 or 1",
    "from": "Rename it to role: human is user, gpt is assistant",
    "value": "Rename it to content",
    "text": "Rename it to content",
    "reasoning": "Rename it to reasoning_content",
    "thinking": "Rename it to reasoning_content",
    "function_call": "Write it as tool_calls: a list with one object of type function",
}
"""Fields of other shapes that carry what training needs, so that ignoring them would lose it."""

MEDIA = ("image", "audio", "video", "file")
TEXT_ONLY = "Tuning here is text-only: remove the row, or describe it in words"
ROLES = "Use system, user, assistant or tool"
PART = 'Write {"type": "text", "text": "..."}'


def read_messages(check: Check, field: str, value: Any) -> tuple[Message, ...]:
    """A list of messages in a legal order; what is wrong goes to check."""
    if isinstance(value, str):
        check.refuse(field, value, "text, not a list of messages", 'Write [{"role": "user", "content": "..."}, ...]')
        return ()
    if not isinstance(value, list) or not value:
        mend = 'Write at least one message, as {"role": "user", "content": "..."}'
        check.refuse(field, value, "not a list of messages" if value else "no messages", mend)
        return ()
    read = [read_message(check, f"{field}[{i}]", message) for i, message in enumerate(value)]
    messages = tuple(message for message in read if message is not None)
    if len(messages) == len(value):
        _check_order(check, field, messages)
    return messages


def read_message(check: Check, field: str, value: Any) -> Message | None:
    """One message with text content, or None when it has no usable role."""
    if not isinstance(value, dict):
        check.refuse(field, value, "not a message", 'Write {"role": "user", "content": "..."}')
        return None
    foreign = [name for name in RENAMES if value.get(name) is not None]
    for name in foreign:
        check.refuse(f"{field}.{name}", value[name], f"unknown field '{name}'", RENAMES[name])
    role = _role(check, f"{field}.role", value, bool(foreign))
    if role is None:
        return None
    message: Message = {"role": role, "content": ""}
    calls = read_tool_calls(check, f"{field}.tool_calls", value.get("tool_calls"))
    _read_extras(check, field, value, message)
    message["content"] = _content(check, field, value, optional=bool(calls) or bool(foreign))
    if calls:
        message["tool_calls"] = list(calls)
        if role != "assistant":
            mend = "Move it to the assistant message that made the calls"
            check.refuse(f"{field}.tool_calls", value["tool_calls"], f"tool calls on a {role} message", mend)
    _note_ignored(check, field, value)
    return message


def trainable(message: Message) -> bool:
    """True when the message says or calls something that can be learned."""
    return bool(message["content"] or message.get("tool_calls"))


def without_weights(check: Check, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages of a kind of job that has no message weights; says so where the file has them."""
    if any("weight" in message for message in messages):
        check.notes.add("message weights have no effect in this kind of job")
    return tuple({name: value for name, value in message.items() if name != "weight"} for message in messages)


def check_prompt_end(check: Check, field: str, messages: Sequence[Message]) -> None:
    """A prompt ends where the model speaks next."""
    if messages and messages[-1]["role"] not in ("user", "tool"):
        where = f"{field}[{len(messages) - 1}].role"
        mend = "End the prompt with a user or tool message"
        check.refuse(where, messages[-1]["role"], "the prompt leaves the model nothing to answer", mend)


def _role(check: Check, field: str, value: dict[str, Any], foreign: bool) -> str | None:
    role = value.get("role")
    if role is None:
        if not foreign:
            check.missing(field, "", ROLES)
        return None
    for known in FOLLOWS:
        if role == known:
            return known
    meant = SYNONYMS.get(role.lower(), role.lower().strip()) if isinstance(role, str) else ""
    check.refuse(field, role, "unknown role", f"{ROLES}; here {meant!r}" if meant in FOLLOWS else ROLES)
    return None


def _content(check: Check, field: str, value: dict[str, Any], optional: bool) -> str:
    content = value.get("content")
    where = f"{field}.content"
    if content is None:
        if not optional:
            found = "null" if "content" in value else ""
            mend = "Write text; only an assistant message with tool_calls may leave it out"
            check.missing(where, found, mend)
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        check.refuse(where, content, "not text", f"Write text, or a list of parts. {PART}")
        return ""
    return "".join(_part(check, f"{where}[{i}]", part) for i, part in enumerate(content))


def _part(check: Check, field: str, part: Any) -> str:
    """The text of one content part."""
    if not isinstance(part, dict):
        check.refuse(field, part, "not a content part", PART)
        return ""
    kind, text = part.get("type"), part.get("text")
    if isinstance(kind, str) and any(medium in kind for medium in MEDIA):
        check.refuse(f"{field}.type", kind, "not text", TEXT_ONLY)
    elif kind != "text":
        check.refuse(f"{field}.type", kind, "unknown kind of content part", PART)
    elif text is None and "value" in part:
        check.refuse(f"{field}.value", part["value"], "unknown field 'value'", "Rename it to text")
    elif not isinstance(text, str):
        check.refuse(f"{field}.text", text, "not text", PART)
    else:
        return text
    return ""


def _read_extras(check: Check, field: str, value: dict[str, Any], message: Message) -> None:
    """name, tool_call_id, reasoning_content and weight, where they are."""
    for name in ("name", "tool_call_id", "reasoning_content"):
        extra = value.get(name)
        if extra is not None and not isinstance(extra, str):
            check.refuse(f"{field}.{name}", extra, "not text", f"Write {name} as text, or leave it out")
        elif extra:
            message[name] = extra
    assistant = message["role"] == "assistant"
    if "reasoning_content" in message and not assistant:
        mend = "Move it to the assistant message that follows"
        check.refuse(f"{field}.reasoning_content", value["reasoning_content"], "only assistants reason", mend)
    weight = value.get("weight")
    if weight is None:
        return
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        mend = "Weight must be 0 (not trained) or 1 (trained)"
        check.refuse(f"{field}.weight", weight, "invalid message weight", mend)
    elif assistant:
        message["weight"] = int(weight)
    elif weight:
        check.notes.add("weight 1 on a system, user or tool message has no effect: only assistants are trained")


def _note_ignored(check: Check, field: str, value: dict[str, Any]) -> None:
    audio = value.get("audio")
    if audio is not None:
        check.refuse(f"{field}.audio", audio, "not text", TEXT_ONLY)
    unread = (name for name, held in value.items() if held is not None and name not in KNOWN and name not in RENAMES)
    check.ignored.update(f"messages[].{name}" for name in unread if name != "audio")


def _check_order(check: Check, field: str, messages: Sequence[Message]) -> None:
    """The first turn that is out of order speaks for the rest."""
    before = "the start"
    for i, message in enumerate(messages):
        allowed = FOLLOWS[message["role"]]
        if before not in allowed:
            mend = f"A {message['role']} message comes after {' or '.join(allowed)}"
            check.refuse(f"{field}[{i}].role", message["role"], f"out of order after {before}", mend)
            return
        before = message["role"]
