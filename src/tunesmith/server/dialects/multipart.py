"""``multipart/form-data`` as it arrives: small fields as text, one file piece by piece, never whole in memory."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from typing import Protocol

from tunesmith.core.errors import UserError

MOST_HEAD_BYTES = 16 << 10
"""Of the lines before a part's content."""
MOST_FIELD_BYTES = 64 << 10
"""Of all fields together, files aside."""


class Sink(Protocol):
    """Where a file goes."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(slots=True)
class Form:
    """What a form held."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    """Of the part that is a file; None where there was none."""


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a part."""

    name: str
    filename: str | None


class Pieces:
    """Cuts a stream at a boundary, wherever its chunks end."""

    def __init__(self, boundary: str) -> None:
        self._mark = b"\r\n--" + boundary.encode()
        # The first boundary has no line before it.
        self._kept = b"\r\n"
        self._before, self._head, self.ended = True, False, False

    def feed(self, data: bytes) -> Iterator[Part | bytes]:
        """The parts that begin and the content that is certain, in order.

        Raises:
            UserError: a part that does not say its name.
        """
        self._kept += data
        while not self.ended:
            if self._head:
                part = self._take_head()
                if part is None:
                    return
                yield part
                continue
            content, found = self._take_content()
            if content and not self._before:
                yield content
            if not found:
                return
            self._before, self._head = False, True

    def _take_head(self) -> Part | None:
        """The next part; None at the end and while its lines are not all there."""
        if self._kept.startswith(b"--"):
            self.ended = True
            return None
        end = self._kept.find(b"\r\n\r\n")
        if end < 0:
            if len(self._kept) > MOST_HEAD_BYTES:
                raise UserError("body", "a part of the form has too many lines before its content", "Send a plain form")
            return None
        head, self._kept = self._kept[:end], self._kept[end + 4 :]
        self._head = False
        return _part(head)

    def _take_content(self) -> tuple[bytes, bool]:
        """(content up to the boundary or as far as none can have begun, whether the boundary is there)."""
        at = self._kept.find(self._mark)
        cut = at if at >= 0 else max(0, len(self._kept) - len(self._mark) + 1)
        content, self._kept = self._kept[:cut], self._kept[cut + (len(self._mark) if at >= 0 else 0) :]
        return content, at >= 0


async def read_form(
    content_type: str, stream: AsyncIterator[bytes], file: Sink, most_bytes: int, part: str = "file"
) -> Form:
    """Write one part to a file and return the fields.

    Args:
        part: the name of that part.

    Raises:
        UserError: no form, one that is cut off, or a file over the limit.
    """
    pieces, form, now = Pieces(_boundary(content_type)), Form(), Part("", None)
    fields: dict[str, bytes] = {}
    size = 0
    async for chunk in stream:
        for piece in pieces.feed(chunk):
            if isinstance(piece, Part):
                now = piece
                if now.name == part:
                    form.filename = now.filename or "upload"
                else:
                    fields[now.name] = b""
            elif now.name == part:
                size += len(piece)
                if size > most_bytes:
                    raise UserError(part, f"is larger than {most_bytes:,} bytes", "Send a smaller file")
                file.write(piece)
            else:
                fields[now.name] += piece
                if sum(map(len, fields.values())) > MOST_FIELD_BYTES:
                    raise UserError("body", "has more text than a form needs", "Send files as the part named file")
    if not pieces.ended:
        raise UserError("body", "the form is cut off before its last boundary", "Send all of it")
    form.fields = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
    return form


def _boundary(content_type: str) -> str:
    header = Message()
    header["content-type"] = content_type or "none/none"
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary or not boundary.isascii():
        raise UserError(
            "content-type", f"is {content_type[:100]!r}", "Send multipart/form-data, the file as the part named file"
        )
    return boundary


def _part(head: bytes) -> Part:
    lines = head.partition(b"\r\n")[2].decode("utf-8", "replace")
    headers = HeaderParser().parsestr(lines)
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise UserError("body", "a part of the form has no name", "Send the file as the part named file")
    return Part(name, headers.get_filename())
