"""Graders that ask a model: ``score_model`` for a number, ``label_model`` for one of several words.

What is asked is text with places, so no code of a user runs. The form of the answer is enforced while it is drawn.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.errors import UserError, unknown
from tunesmith.core.ports import Answer, GradingError, Question
from tunesmith.core.types import Metrics, Row, SamplingParams
from tunesmith.grading.composed import templates
from tunesmith.grading.composed.fields import Fields, fields_of, filled

ROLES = ("system", "developer", "user", "assistant")
TEXTS = ("input_text", "output_text", "text")
SAMPLING = ("temperature", "top_p", "seed", "max_completions_tokens", "reasoning_effort")
MOST_TOKENS = 512
"""Of an answer, unless the grader says otherwise."""
NARROWEST = 1e-6
FEWEST_FOR_STEPS = 100
"""With fewer tokens than that, the answer is the result alone."""
MOST_STEPS = 4
OWN = {
    "score_model": frozenset({"input", "model", "base_model", "range", "sampling_params", "pass_threshold"}),
    "label_model": frozenset({"input", "model", "base_model", "labels", "passing_labels", "sampling_params"}),
}
"""Kind -> what it may say."""
CALLS, TOKENS = "judge_calls", "judge_tokens"
"""Parts of a score: how often models were asked for it, and the tokens that they read and wrote."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model made of one attempt."""

    reward: float
    parts: Metrics
    reason: str
    """Its steps, in words."""
    tokens: int
    """Read and written."""


def parts_of(grader: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The graders in a checked one that ask a model, by their names in a multi; the grader itself has none."""
    parts = grader["graders"] if grader["type"] == "multi" else {"": grader}
    return {name: part for name, part in parts.items() if part["type"] in OWN}


def check(grader: Mapping[str, Any], where: str) -> None:
    """
    Raises:
        UserError: names the place, what is wrong there, and what to write.
    """
    for name in ("model", "base_model"):
        if (name in grader or name == "model") and not (isinstance(grader.get(name), str) and grader[name].strip()):
            raise UserError(f"{where}.{name}", "names no model", "Give the name of a model")
    _check_messages(grader.get("input"), f"{where}.input")
    _check_sampling(grader.get("sampling_params") or {}, f"{where}.sampling_params")
    if grader["type"] == "label_model":
        _check_labels(grader, where)
        return
    low, high = _check_range(grader.get("range"), f"{where}.range")
    threshold = grader.get("pass_threshold")
    if threshold is not None and not (_is_number(threshold) and low <= threshold <= high):
        raise UserError(
            f"{where}.pass_threshold", f"can't be {threshold!r:.40}", f"Give a number of {low:g} to {high:g}"
        )


def question(grader: Mapping[str, Any], completion: str, row: Row) -> Question:
    """What to ask about an attempt.

    Raises:
        GradingError: the row or the completion lacks what the messages name.
    """
    fields = fields_of(completion, row)
    given = grader.get("sampling_params") or {}
    params = SamplingParams(
        max_tokens=_budget(grader),
        temperature=given.get("temperature") or 0.0,
        top_p=1.0 if given.get("top_p") is None else given["top_p"],
        top_k=0,
        seed=given.get("seed") or 0,
    )
    messages = [_message(message, fields) for message in grader["input"]]
    return Question(grader["model"], grader.get("base_model", ""), messages, _schema(grader), params)


def verdict(grader: Mapping[str, Any], answer: Answer) -> Verdict:
    """
    Raises:
        GradingError: the answer ended before there was a result.
    """
    try:
        said = json.loads(answer.text)
        result = said["result"]
    except (ValueError, LookupError, TypeError):
        mend = "raise sampling_params.max_completions_tokens"
        detail = f"{grader['model']} came to no result within {answer.sampled} tokens; {mend}: {answer.text[-200:]!r}"
        raise GradingError("judge", detail) from None
    reason = " ".join(f"{s['description']}: {s['conclusion']}" for s in said.get("steps", ()))
    if grader["type"] == "label_model":
        return Verdict(float(result in grader["passing_labels"]), {}, f"{result}. {reason}".strip(), answer.tokens)
    threshold = grader.get("pass_threshold")
    parts = {} if threshold is None else {"passed": float(result >= threshold)}
    return Verdict(float(result), parts, reason, answer.tokens)


def _message(message: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    role = "system" if message["role"] == "developer" else message["role"]
    return {"role": role, "content": "".join(filled(text, fields) for text in _texts(message["content"]))}


def _texts(content: Any) -> list[str]:
    parts = content if isinstance(content, list) else [content]
    return [part if isinstance(part, str) else part["text"] for part in parts]


def _schema(grader: Mapping[str, Any]) -> dict[str, Any]:
    """A number has as many digits as its range needs. Steps come first, so that a model may think before it decides;
    they are so short that at three characters a token all of them leave room for the result."""
    if grader["type"] == "label_model":
        result: dict[str, Any] = {"enum": grader["labels"]}
    else:
        low, high = grader.get("range") or (0, 1)
        digit = 10.0 ** (math.floor(math.log10(high - low)) - 2)
        result = {"type": "number", "minimum": low, "maximum": high, "multipleOf": digit}
    if (budget := _budget(grader)) < FEWEST_FOR_STEPS:
        return _object({"result": result}, ("result",))
    names = ("description", "conclusion")
    step = _object({name: {"type": "string", "maxLength": budget // 3} for name in names}, names)
    steps = {"type": "array", "items": step, "maxItems": MOST_STEPS}
    return _object({"steps": steps, "result": result}, ("result",))


def _budget(grader: Mapping[str, Any]) -> int:
    """Tokens of an answer."""
    return (grader.get("sampling_params") or {}).get("max_completions_tokens") or MOST_TOKENS


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _check_messages(messages: Any, where: str) -> None:
    if not isinstance(messages, list) or not messages:
        mend = 'Write [{"role": "user", "content": "How good is {{sample.output_text}}?"}]'
        raise UserError(where, "is no list of messages", mend)
    for i, message in enumerate(messages):
        place = f"{where}[{i}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise UserError(place, f"has no role of {', '.join(ROLES)}", 'Write {"role": "user", "content": ...}')
        if other := next((k for k in message if k not in ("role", "content", "type")), None):
            raise unknown(place, str(other)[:100], ("role", "content", "type"))
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            _check_text(part, f"{place}.content")


def _check_text(part: Any, where: str) -> None:
    if isinstance(part, dict) and part.get("type") in TEXTS:
        part = part.get("text")
    if not isinstance(part, str):
        raise UserError(where, f"is no text (got {part!r:.60})", "Models read text alone here")
    if problem := templates.problem(part):
        raise UserError(where, problem, "Write {{sample.output_text}}, or {{item.answer}}")


def _check_sampling(given: Any, where: str) -> None:
    if not isinstance(given, dict):
        raise UserError(where, "is no object", f"It may hold {', '.join(SAMPLING[:-1])}")
    bounds = {"temperature": (0, 2), "top_p": (1e-6, 1), "seed": (0, 2**63), "max_completions_tokens": (1, 1 << 20)}
    for name, value in given.items():
        if name not in SAMPLING:
            raise unknown(where, str(name)[:100], SAMPLING)
        if value is None:
            continue
        if name == "reasoning_effort":
            raise UserError(f"{where}.{name}", "is no dial of the models here", "Leave it out")
        low, high = bounds[name]
        whole = name in ("seed", "max_completions_tokens")
        if not (_is_number(value) and low <= value <= high and (isinstance(value, int) or not whole)):
            kind = "a whole number" if whole else "a number"
            raise UserError(f"{where}.{name}", f"can't be {value!r:.40}", f"Give {kind} of {low:g} to {high:g}")


def _check_range(given: Any, where: str) -> tuple[float, float]:
    if given is None:
        return 0.0, 1.0
    if not (isinstance(given, list) and len(given) == 2 and all(map(_is_number, given)) and given[0] < given[1]):
        raise UserError(where, f"is no range (got {given!r:.60})", "Give two numbers, the lower one first: [0, 1]")
    if given[1] - given[0] < NARROWEST:
        raise UserError(where, f"is narrower than {NARROWEST:g}", "Give numbers further apart: the formula can scale")
    return given[0], given[1]


def _check_labels(grader: Mapping[str, Any], where: str) -> None:
    labels: Any = grader.get("labels")
    passing: Any = grader.get("passing_labels")
    if not _are_texts(labels) or len(set(labels)) != len(labels):
        raise UserError(f"{where}.labels", "is no list of different texts", 'Write ["good", "bad"]')
    if not _are_texts(passing) or not set(passing) <= set(labels):
        raise UserError(
            f"{where}.passing_labels", "are not some of the labels", f"Choose from {', '.join(labels)[:200]}"
        )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 2**64
    )
