"""Some of a list, as every list of rows is cut."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

RowT = TypeVar("RowT")


def page_of(
    db: Session, those: Select[RowT], order: Sequence[Any], limit: int, offset: int
) -> tuple[Sequence[RowT], int]:
    """(rows from a place on, how many there are in all)."""
    rows = db.scalars(those.order_by(*order).limit(limit).offset(offset)).all()
    if 0 < len(rows) < limit:
        # The last of them is here.
        return rows, offset + len(rows)
    return rows, db.scalar(select(func.count()).select_from(those.subquery())) or 0
