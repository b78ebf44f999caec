"""Lists in OpenAI's envelope: a page that begins after an id."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from tunesmith.core.errors import NotFound

Limit = Annotated[int, Query(ge=1, le=100)]
MOST = 10_000
"""Entries that are looked through, newest first."""
Row = TypeVar("Row")


def page(
    rows: Sequence[Row],
    id_of: Callable[[Row], str],
    body: Callable[[Row], dict[str, Any]],
    after: str | None,
    limit: int,
) -> Mapping[str, Any]:
    """
    Args:
        after: id of the last entry of the page before.

    Raises:
        NotFound: no entry has that id.
    """
    start = 0
    if after is not None:
        ids = [id_of(row) for row in rows]
        if after not in ids:
            raise NotFound("after", f"there is no {after[:100]!r} in this list", "Give the id of an entry of it")
        start = ids.index(after) + 1
    data = [body(row) for row in rows[start : start + limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, "has_more": len(rows) > start + limit, **ends}
