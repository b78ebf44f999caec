"""Bytes to lines to JSON objects, in one pass that never holds more than one line."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.core.errors import NotFound, UserError
from tunesmith.data.json_text import BadJson, decode
from tunesmith.data.problems import Problem, shown

MAX_LINE_BYTES = 10 * 1024 * 1024
BOM = b"\xef\xbb\xbf"

_UTF8 = "Save it as UTF-8"
SIGNATURES: dict[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("a gzip file", "Unpack it first: gunzip FILE"),
    b"PK\x03\x04": ("a zip file", "Unpack it first: unzip FILE"),
    b"BZh": ("a bzip2 file", "Unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ": ("an xz file", "Unpack it first: unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "Unpack it first: unzstd FILE"),
    b"PAR1": ("a parquet file", "Export it as JSONL, one object per line"),
    b"ARROW1": ("an arrow file", "Export it as JSONL, one object per line"),
    b"SQLite format 3": ("an SQLite database", "Export it as JSONL, one object per line"),
    b"%PDF": ("a PDF file", "Write the conversations as JSONL, one object per line"),
    b"\xff\xfe\x00\x00": ("UTF-32 text", _UTF8),
    b"\x00\x00\xfe\xff": ("UTF-32 text", _UTF8),
    b"\xff\xfe": ("UTF-16 text", _UTF8),
    b"\xfe\xff": ("UTF-16 text", _UTF8),
    b"version https://git-lfs": ("a Git LFS pointer, not the file", "Fetch the file: git lfs pull"),
    b"<!DOCTYPE": ("a web page", "Download the raw file instead of the page that shows it"),
    b"<html": ("a web page", "Download the raw file instead of the page that shows it"),
}
"""How files begin that are not JSONL text; longer beginnings before shorter ones."""

Found = dict[str, Any] | Problem | None


def read_objects(path: Path) -> Iterator[tuple[int, Found]]:
    """Every line of a file as (1-based number, object); a Problem where it is none, and None where it is blank.

    After a problem of the whole file nothing more comes.

    Raises:
        NotFound: no such file.
        UserError: a folder, or a file that may not or cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from _read(file)
    except FileNotFoundError:
        raise NotFound(str(path), "no such dataset file", "Give the path of a JSONL file") from None
    except IsADirectoryError:
        raise UserError(str(path), "a folder, not a dataset file", "Give one JSONL file in it") from None
    except PermissionError:
        raise UserError(str(path), "may not be read", f"Allow it: chmod u+r {path}") from None
    except OSError as e:
        raise UserError(str(path), f"cannot be read: {e.strerror}", "Check the disk and the path") from None


def _read(file: io.BufferedReader) -> Iterator[tuple[int, Found]]:
    head = file.peek(64)
    for beginning, (what, mend) in SIGNATURES.items():
        if head.startswith(beginning):
            yield 1, Problem(1, "file", what, "not JSONL text", mend, whole_file=True)
            return
    started = False
    for number, raw in _lines(file):
        text = raw.removeprefix(BOM) if number == 1 else raw
        if text is not _TOO_LONG and not text.strip():
            yield number, None
            continue
        whole = None if started else _whole_document(number, text)
        yield number, whole or _parse(number, text)
        if whole:
            return
        started = True


_TOO_LONG = b"too long"


def _lines(file: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Lines without their end; a line over the cap is passed over in pieces and comes as _TOO_LONG itself."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        long = len(raw) > MAX_LINE_BYTES
        while len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raw = file.readline(MAX_LINE_BYTES + 1)
        yield number, _TOO_LONG if long else raw.rstrip(b"\r\n")


def _whole_document(number: int, text: bytes) -> Problem | None:
    """The first line tells whether the file is one JSON document instead of one object per line."""
    start = text.strip()
    if start.startswith(b"["):
        mend = "Write one object per line, for example with: jq -c '.[]' FILE > FILE.jsonl"
        return Problem(number, "file", "a JSON array", "not one object per line", mend, whole_file=True)
    if start == b"{":
        mend = "Write each object on one line, for example with: jq -c . FILE > FILE.jsonl"
        return Problem(number, "file", "an object over several lines", "not one object per line", mend, whole_file=True)
    return None


def _parse(number: int, raw: bytes) -> dict[str, Any] | Problem:
    if raw is _TOO_LONG:
        mend = "Split the row, or check for missing line breaks"
        return Problem(number, "line", f"more than {MAX_LINE_BYTES // 2**20} MB", "line too long", mend)
    if (at := raw.find(b"\0")) >= 0:
        mend = f"Remove it; if the file is UTF-16, {_UTF8[0].lower()}{_UTF8[1:]}"
        return Problem(number, f"byte {at + 1}", "a NUL byte", "not text", mend)
    try:
        value = decode(raw.decode("utf-8"))
    except UnicodeDecodeError as e:
        mend = f"{_UTF8}, for example with: iconv -f LATIN1 -t UTF-8 FILE"
        return Problem(number, f"byte {e.start + 1}", f"0x{raw[e.start]:02x}", "not valid UTF-8", mend)
    except BadJson as e:
        return Problem(number, e.field, e.found, e.problem, e.mend)
    if not isinstance(value, dict):
        mend = 'Write one JSON object per line, as {"messages": [...]}'
        return Problem(number, "row", shown(value), "not an object", mend)
    return value
