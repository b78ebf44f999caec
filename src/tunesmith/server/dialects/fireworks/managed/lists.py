"""Lists as this wire pages them: filtered, ordered and cut into pages that an opaque token leads on from."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.filters import parse_filter, path_of, value_at

DEFAULT, MOST = 50, 200
MOST_LOOKED_THROUGH = 10_000
"""Resources of an account that a list looks through, newest first."""
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The query parameters of a list."""

    size: int
    token: str
    filter: str
    order: str
    mask: str

    def page(self, plural: str, rows: Sequence[Body], whole: Callable[[Body], Body] | None = None) -> dict[str, Any]:
        """
        Args:
            rows: all resources, with the fields that they may be filtered and ordered by.
            whole: makes of one of them what is shown, where that takes longer.

        Raises:
            UserError: a filter, an order or a token that this server cannot follow.
        """
        keeps = parse_filter(self.filter)
        found = self._ordered([row for row in rows if keeps(row)])
        start = self._start(found)
        shown = found[start : start + self.size]
        more = start + self.size < len(found)
        token = self._token_after(shown[-1]["name"], start + self.size) if more else ""
        bodies = [masked(row if whole is None else whole(row), self.mask) for row in shown]
        return {plural: bodies, "nextPageToken": token, "totalSize": len(found)}

    def _ordered(self, rows: list[Body]) -> list[Body]:
        """By name where nothing else is asked for; the last key is sorted by first, because sorting is stable."""
        found = sorted(rows, key=lambda row: str(row["name"]))
        for key in reversed([part for part in self.order.split(",") if part.strip()]):
            name, _, direction = key.strip().partition(" ")
            if direction.strip().lower() not in ("", "asc", "desc"):
                raise UserError("orderBy", f"{key.strip()[:80]!r} is no order", "Write: create_time desc")
            path = path_of("orderBy", name)
            found.sort(key=lambda row: _sortable(value_at(row, path)), reverse=direction.strip().lower() == "desc")
        return found

    def _start(self, rows: Sequence[Body]) -> int:
        """Behind the last row of the page before; behind its place where it is gone."""
        if not self.token:
            return 0
        try:
            text = base64.urlsafe_b64decode(self.token.encode())
            place, name, of = json.loads(text)
            if not (isinstance(place, int) and place >= 0 and isinstance(name, str)):
                raise ValueError(text)
        except (ValueError, TypeError, RecursionError):
            raise UserError("pageToken", "was not made by this server", "Leave it out to begin again") from None
        if of != self._list():
            problem = "belongs to a list with another filter or orderBy"
            raise UserError("pageToken", problem, "Send the same parameters with it")
        names = [row["name"] for row in rows]
        return names.index(name) + 1 if name in names else min(place, len(rows))

    def _token_after(self, name: str, place: int) -> str:
        return base64.urlsafe_b64encode(json.dumps([place, name, self._list()]).encode()).decode()

    def _list(self) -> str:
        said = json.dumps([self.filter, self.order])
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:12]


async def wanted(
    page_size: Annotated[int, Query(alias="pageSize", ge=0)] = 0,
    page_token: Annotated[str, Query(alias="pageToken")] = "",
    filter_: Annotated[str, Query(alias="filter")] = "",
    order: Annotated[str, Query(alias="orderBy")] = "",
    mask: Annotated[str, Query(alias="readMask")] = "",
) -> Wanted:
    return Wanted(min(page_size or DEFAULT, MOST), page_token, filter_, order, mask)


Listing = Annotated[Wanted, Depends(wanted)]
Mask = Annotated[str, Query(alias="readMask")]


def masked(body: Body, mask: str) -> Body:
    """The fields that a read mask names, ``*`` or nothing for all; names that there are not give nothing."""
    if mask.strip() in ("", "*"):
        return body
    paths = [path_of("readMask", name.strip()) for name in mask.split(",") if name.strip()]
    found: Body = {}
    for path in paths:
        value = value_at(body, path)
        if value is not None:
            _put(found, path, value)
    return found


def _put(body: Body, path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = body.setdefault(part, {})
        # What was asked for whole is there already.
        if not isinstance(inner, dict):
            return
        body[part] = body = dict(inner)
    body[path[-1]] = value


def _sortable(value: Any) -> tuple[int, float, str]:
    """Nothing before numbers, numbers before text."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, bool | int | float):
        return 1, float(value), ""
    return 2, 0.0, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def all_pages(page: Callable[..., tuple[Sequence[Any], int]], **given: Any) -> Iterable[Any]:
    """Everything that a service lists, as far as lists here look."""
    return page(limit=MOST_LOOKED_THROUGH, **given)[0]


def without_empty(body: Mapping[str, Any]) -> Body:
    """Fields that nobody set are left out: clients of this wire expect no null."""
    return {name: value for name, value in body.items() if value is not None}
