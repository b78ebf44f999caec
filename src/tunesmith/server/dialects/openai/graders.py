"""OpenAI's graders: those that run here as they are, the others refused by name."""

import json
from collections.abc import Mapping
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.grading.composed import PREFIX, check

ELSEWHERE: Mapping[str, str] = {
    "endpoint": "this server sends no completions to other addresses",
}
MEND = "Use string_check, text_similarity, python, score_model, label_model, or multi over several of them"


def evaluator(grader: Mapping[str, Any], where: str = "method.reinforcement.grader") -> str:
    """A grader as a string that ``RftSpec.evaluator`` takes.

    Raises:
        UserError: a grader, or a part of one, that has no equal here; names it.
    """
    parts = grader.get("graders")
    named = {f"{where}.graders.{name}": part for name, part in (parts if isinstance(parts, dict) else {}).items()}
    for place, part in {where: grader, **named}.items():
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in ELSEWHERE:
            raise UserError(f"{place}.type", f"{kind} has no equal here: {ELSEWHERE[kind]}", MEND)
    check(grader, where)
    return PREFIX + json.dumps(grader)
