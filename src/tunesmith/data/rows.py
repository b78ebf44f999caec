"""The rows that training reads: one frozen type per kind of job, with messages ready for any chat template."""

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
"""One turn. Always ``role`` and ``content`` (text, never null or a list); where the file has them also ``name``,
``tool_call_id``, ``reasoning_content`` and ``tool_calls``, whose ``arguments`` are an object and not JSON text."""

Tool = dict[str, Any]
"""One function the model may call, in the OpenAI shape, as the file has it."""


@dataclass(frozen=True, slots=True)
class SftRow:
    """A conversation to imitate."""

    line: int
    """1-based line of the file. A conversation with reasoning becomes several rows of one line."""
    messages: tuple[Message, ...]
    """Ends with an assistant message; every assistant message has ``weight`` 1 (trained) or 0."""
    tools: tuple[Tool, ...]
    weight: float
    """Multiplies the loss of the row; 1 where the file has no weights. May be negative."""


@dataclass(frozen=True, slots=True)
class DpoRow:
    """A prompt with a better and a worse answer."""

    line: int
    messages: tuple[Message, ...]
    """The prompt; ends with a user or tool message."""
    tools: tuple[Tool, ...]
    preferred: Message
    """The better answer, one assistant message."""
    rejected: Message
    """The worse answer, one assistant message."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A conversation that somebody had with a model, and how good it was."""

    messages: tuple[Message, ...]
    """All of it. Its prompt is as long as the row's; what the assistant says after that is the attempt."""
    scores: dict[str, float]
    """By name."""


@dataclass(frozen=True, slots=True)
class RftRow:
    """A prompt to attempt, with whatever its grader needs."""

    line: int
    prompt_id: str
    messages: tuple[Message, ...]
    """The prompt; ends with a user or tool message."""
    tools: tuple[Tool, ...]
    row: dict[str, Any]
    """The row exactly as the file has it, for the grader."""
    attempts: tuple[Attempt, ...] = ()
    """Made and judged before; most files have none."""


Row = SftRow | DpoRow | RftRow
