"""What templates fill in of one attempt, and what it means where something is missing."""

from typing import Any

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row
from tunesmith.grading.composed import templates

Fields = dict[str, Any]
"""``sample`` and ``item``, as templates name them."""


def fields_of(completion: str, row: Row) -> Fields:
    return {"sample": templates.sample_of(completion), "item": row}


def filled(template: str, fields: Fields) -> str:
    """The template with its places filled in.

    Raises:
        GradingError: the row has no such field, or the completion is no JSON with it.
    """
    try:
        return templates.filled(template, fields)
    except KeyError as e:
        root, _, path = str(e.args[0]).partition(".")
        if root == "item":
            raise GradingError("bad_row", f"has no {path}; it has {', '.join(fields['item']) or 'no fields'}") from None
        raise GradingError("bad_value", f"the completion has no {e.args[0]}: it is no such JSON") from None
