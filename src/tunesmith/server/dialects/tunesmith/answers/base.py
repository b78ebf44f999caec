"""What all answers of our own wire have in common."""

from typing import Any, Generic, TypeVar

from pydantic import ConfigDict

from tunesmith.core.described import Described


class Answer(Described):
    """Made from what the services show."""

    model_config = ConfigDict(from_attributes=True)


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """Some of a list."""

    items: list[Item]
    total: int
    """How many there are in all."""
    next_offset: int | None
    """Offset of the next page; null on the last one."""


def page(items: list[Any], total: int, offset: int) -> dict[str, Any]:
    """The fields of a page."""
    seen = offset + len(items)
    return {"items": items, "total": total, "next_offset": seen if items and seen < total else None}
