"""What a form sent: fields as text, from our own pages only."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from tunesmith.core.errors import UserError
from tunesmith.server.body import read_body
from tunesmith.server.web.visitor import Seen, check_origin, check_token

MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Posted:
    """A form of somebody who is logged in."""

    owner: str
    pairs: list[tuple[str, str]]

    @property
    def fields(self) -> dict[str, str]:
        """Of a name that comes twice, the last."""
        return dict(self.pairs)

    def need(self, name: str) -> str:
        """
        Raises:
            UserError: the field is empty.
        """
        text = self.fields.get(name, "").strip()
        if not text:
            raise UserError(name, "is empty", "Fill it in")
        return text


async def read_pairs(request: Request) -> list[tuple[str, str]]:
    """The fields of a plain form, in their order."""
    body = await read_body(request, MOST_BYTES)
    try:
        found = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=500)
    except ValueError as e:
        raise UserError("form", f"cannot be read: {e}", "Send fewer fields") from None
    return [(name, value.replace("\r\n", "\n")) for name, value in found]


async def posted(request: Request, visitor: Seen) -> Posted:
    """The form of this session; its token is taken out."""
    check_origin(request)
    pairs = await read_pairs(request)
    check_token(visitor, dict(pairs).get("csrf", ""))
    return Posted(visitor.owner, [(name, value) for name, value in pairs if name != "csrf"])


Form = Annotated[Posted, Depends(posted)]
