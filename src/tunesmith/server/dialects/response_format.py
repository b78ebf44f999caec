"""``response_format`` of inference requests: what an answer has to look like, enforced while it is drawn."""

from typing import Any

from tunesmith.core.errors import UserError, unknown
from tunesmith.models.grammar import json_grammar, lark_grammar

WHERE = "response_format"
KINDS = ("text", "json_object", "json_schema", "grammar")


def grammar_of(given: Any) -> str:
    """The grammar that an answer keeps to; empty for any text.

    Args:
        given: ``{"type": "json_schema", "json_schema": {"schema": {...}}}`` or ``{"type": "json_object"}`` (with
            ``schema`` where it is to have one) or ``{"type": "grammar", "grammar": "start: ..."}``, or nothing.

    Raises:
        UserError: another shape, or a schema that cannot be enforced.
    """
    if given is None:
        return ""
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise UserError(WHERE, f"has no type (got {given!r:.60})", f"Give one of {', '.join(KINDS)}")
    kind = given["type"]
    if kind not in KINDS:
        raise unknown(f"{WHERE}.type", kind[:60], KINDS)
    if kind == "text":
        return ""
    if kind == "json_schema":
        return json_grammar(_object(given.get("json_schema"), f"{WHERE}.json_schema", "schema"), WHERE)
    if kind == "json_object":
        return json_grammar(_object(given, WHERE, "schema"), WHERE) if "schema" in given else json_grammar()
    if not isinstance(given.get("grammar"), str):
        raise UserError(f"{WHERE}.grammar", "is no text", "Give a grammar in Lark's notation, with start as its rule")
    return lark_grammar(given["grammar"], f"{WHERE}.grammar")


def _object(outer: Any, where: str, name: str) -> dict[str, Any]:
    found = outer.get(name) if isinstance(outer, dict) else None
    if not isinstance(found, dict):
        raise UserError(f"{where}.{name}", f"is no schema (got {found!r:.60})", "Give a JSON schema, an object")
    return found
