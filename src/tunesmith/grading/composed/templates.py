"""Text with places to fill in: ``{{ item.answer }}`` from the row, ``{{ sample.output_text }}`` from the model."""

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_PATH = re.compile(r"(item|sample)(\.\w+)+")
SAMPLE = ("output_text", "output_json")


def places(template: str) -> list[str]:
    """The paths that a template names, in order."""
    return _PLACE.findall(template)


def problem(template: str) -> str:
    """What is wrong with a template, or nothing."""
    for path in places(template):
        if not _PATH.fullmatch(path):
            return f"names {path!r:.80}, which is neither item.<field> nor sample.<field>"
        root, field = path.split(".")[:2]
        if root == "sample" and field not in SAMPLE:
            return f"names {path!r:.80}; a sample has {' and '.join(SAMPLE)}"
    return ""


def sample_of(completion: str) -> dict[str, Any]:
    """What a template, or Python source, sees of a completion."""
    try:
        parsed = json.loads(completion)
    except (ValueError, RecursionError):
        parsed = None
    return {"output_text": completion, "output_json": parsed}


def filled(template: str, names: Mapping[str, Any]) -> str:
    """The template with its places filled in.

    Raises:
        KeyError: a place names something that is not there.
    """
    return _PLACE.sub(lambda found: _text(_at(found[1], names)), template)


def _at(path: str, names: Mapping[str, Any]) -> Any:
    value: Any = names
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(path)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
