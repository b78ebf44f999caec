"""What the creation of a resource has in common: an id of the client's or ours, and 409 for one that is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from fastapi import Request

from tunesmith.core.errors import Conflict
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.errors import refusal

RETRIES = "x-stainless-retry-count"


def own_id(where: str, given: str, kind: str) -> str:
    """The id that a client chose, or one of ours.

    Raises:
        UserError: an id that names cannot hold.
    """
    if given:
        names.check_label(where, given)
    return given or f"{kind}-{token_hex(4)}"


@contextmanager
def taken(*ids: str | None) -> Iterator[None]:
    """Answer 409 where one of these is there already; without any, for every conflict inside."""
    try:
        yield
    except Conflict as e:
        if ids and e.where not in ids:
            raise
        raise refusal(409, e) from None


def is_retry(request: Request) -> bool:
    """Whether the client says that it sent this before, and has no answer."""
    return request.headers.get(RETRIES, "0").strip() not in ("", "0")
